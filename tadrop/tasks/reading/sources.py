"""Where a task's images are: in a folder, in a local copy of a data set, on the hub."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tadrop.storage import hub as hubs
from tadrop.tasks.reading.folder_source import FolderSource
from tadrop.tasks.reading.hub_source import HubSource
from tadrop.tasks.reading.registry import Entry
from tadrop.types import TadropError


@runtime_checkable
class ImageSource(Protocol):
    """Labelled images, split by split. place: where they are, for messages."""

    @property
    def place(self) -> str: ...

    def identity(self) -> dict[str, Any]:
        """What the rows depend on: it names them in a cache."""
        ...

    def class_names(self) -> list[str] | None:
        """The names that the data give to their classes, if they do."""
        ...

    def rows(self, split: str, limit: int | None) -> Iterator[tuple[bytes, int]]:
        """(encoded image, label): all of a split, or a seeded sample of it."""
        ...


def source_of(task: str, entry: Entry, hub: str | None) -> ImageSource:
    """Where a task's data are. Raises TadropError if they are nowhere."""
    splits = dict(entry.splits)
    if entry.folder:
        place = hubs.local("datasets", entry.folder, hub)
        if place is None:
            raise TadropError(
                f"task {task!r}: no folder {entry.folder}; "
                f"set tasks.entries.{task}.folder=DIR"
            )
        return FolderSource(str(place), _stamp(place), splits, entry.holdout)
    if entry.id is None:
        raise TadropError(
            f"task {task!r} has no data set; "
            f"set tasks.entries.{task}.id=ORG/NAME or .folder=DIR"
        )
    columns = (entry.image, entry.label, splits)
    place = hubs.local("datasets", entry.id, hub)
    if place is not None:
        config = entry.config if _has_configs(place) else None
        return HubSource(str(place), _stamp(place), config, None, *columns)
    reason = hubs.unreachable()
    if reason:
        raise hubs.absent("datasets", entry.id, hub, f"task {task!r}", reason)
    commit = _commit(entry.id, entry.revision)
    return HubSource(entry.id, commit, entry.config, entry.revision, *columns)


def _has_configs(place: Path) -> bool:
    """Whether a local copy is of more configurations than the default one."""
    readme = place / "README.md"
    if not readme.is_file():
        return False
    text = readme.read_text(errors="replace")
    return "config_name" in text and "config_name: default" not in text


def _stamp(folder: Path) -> list[tuple[str, int, int]]:
    """Every file's name, size and modification time."""
    stamp = []
    for path in sorted(filter(Path.is_file, folder.rglob("*"))):
        status = path.stat()
        name = str(path.relative_to(folder))
        stamp.append((name, status.st_size, status.st_mtime_ns))
    return stamp


def _commit(name: str, revision: str | None) -> str | None:
    """The commit of a data set on the hub."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name, revision=revision).sha
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TadropError(
            f"data set {name}: not on the hub under this id ({reason}); "
            "it is set in the registry, and tasks.entries.NAME.id=ORG/NAME overrides it"
        ) from error
