"""Where a task's images are: in a folder of classes, or in a data set of the hub, which
may be in a local folder, in the hub library's cache, or still on the hub.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tadrop.storage import hub as hubs
from tadrop.storage.repository import Repository, at_hand, find
from tadrop.tasks.reading.folder_source import FolderSource
from tadrop.tasks.reading.hub_source import HubSource
from tadrop.tasks.reading.images import Row
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

    def rows(self, split: str, limit: int | None) -> Iterator[Row]:
        """(encoded image, label): all of a split, or a seeded sample of it."""
        ...


def source_of(
    task: str, entry: Entry, hub: str | None, cache: Path | None = None
) -> ImageSource:
    """Where a task's data are. Raises TadropError if they are nowhere.

    cache: where parts of files are kept for a sample; None where the whole is read
    """
    if entry.folder:
        return _folder(task, entry.folder, entry, hub)
    if entry.id is None:
        raise TadropError(
            f"task {task!r} has no data set; "
            f"set tasks.entries.{task}.id=ORG/NAME or .folder=DIR"
        )
    wanted_by = f"task {task!r}"
    repository = find("datasets", entry.id, hub, wanted_by, entry.revision)
    return _data_set(entry, repository, cache)


def _data_set(entry: Entry, repository: Repository, cache: Path | None) -> HubSource:
    """An entry's data in a repository."""
    columns = (entry.image, entry.label, dict(entry.splits))
    place, commit = repository.place, repository.commit
    if commit is None:
        config = entry.config if _has_configs(Path(place)) else None
        stamp = _stamp(Path(place))
        return HubSource(place, stamp, config, None, *columns, repository)
    parts = None
    if cache is not None:
        parts = cache / "parts" / place.replace("/", "--") / commit
    pinned = (entry.config, entry.revision)
    return HubSource(place, commit, *pinned, *columns, repository, parts)


def missing_files(entry: Entry, hub: str | None, cache: Path | None) -> str:
    """What of a task's test images is not on this machine, or an empty string.

    Looking asks no network. cache: as source_of has it
    """
    if entry.folder or entry.id is None:
        place = hubs.local("datasets", entry.folder or "", hub)
        return "" if entry.folder and place else "train/CLASS/*, test/CLASS/*"
    repository = at_hand("datasets", entry.id, hub, entry.revision)
    if repository is None:
        return "its test split"
    if repository.complete:
        return ""
    try:
        return ", ".join(_data_set(entry, repository, cache).missing("test"))
    except TadropError as error:
        return str(error)


def _folder(task: str, folder: str, entry: Entry, hub: str | None) -> FolderSource:
    """Images in a folder for each class."""
    place = hubs.local("datasets", folder, hub)
    if place is None:
        raise TadropError(
            f"task {task!r}: no folder {folder}; set tasks.entries.{task}.folder=DIR"
        )
    splits = dict(entry.splits)
    return FolderSource(str(place), _stamp(place), splits, entry.holdout)


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
