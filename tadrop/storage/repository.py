"""The files of one public model or data set, wherever they are: in a local folder, in
the hub library's cache (HF_HOME), or on the hub.

That is the order in which a file is looked for. What has to be downloaded goes into the
hub library's cache, where the next run and every other program finds it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import IOBase
from pathlib import Path
from typing import Protocol, runtime_checkable

from tadrop.storage import hub as hubs
from tadrop.storage.bars import report
from tadrop.storage.checkpoint import first_line
from tadrop.types import TadropError

# Small files that nearly every repository has. One of them is downloaded by the name of
# its branch, so that the library notes which commit the branch stands for.
NOTED = ("README.md", ".gitattributes")


@runtime_checkable
class Repository(Protocol):
    """Files by their paths in the repository.

    place:    the folder, or org/name
    names:    the files that there are, as far as that is known without a network
    complete: whether they are all that there are
    commit:   the hub's, 40 hex digits; None for a local folder
    folder:   where files lie by their names, if they do; not all need be there
    """

    @property
    def place(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def complete(self) -> bool: ...

    @property
    def commit(self) -> str | None: ...

    @property
    def folder(self) -> Path | None: ...

    def at_hand(self, name: str) -> Path | None:
        """A file that is on this machine, or None. Looking downloads nothing."""
        ...

    def file(self, name: str) -> Path:
        """A file, downloaded if need be. Raises TadropError where that fails."""
        ...

    def opened(self, name: str) -> IOBase:
        """A file of which only the parts that are read are downloaded."""
        ...

    def without(self, name: str) -> TadropError:
        """The error about a file, or a pattern of files, that is nowhere."""
        ...


@dataclass(frozen=True)
class Folder:
    """A repository in a local folder; see Repository."""

    folder: Path

    @property
    def place(self) -> str:
        return str(self.folder)

    @property
    def complete(self) -> bool:
        return True

    @property
    def commit(self) -> None:
        return None

    @property
    def names(self) -> tuple[str, ...]:
        return _names_in(self.folder)

    def at_hand(self, name: str) -> Path | None:
        path = self.folder / name
        return path if path.is_file() else None

    def file(self, name: str) -> Path:
        path = self.at_hand(name)
        if path is None:
            raise self.without(name)
        return path

    def opened(self, name: str) -> IOBase:
        return self.file(name).open("rb")

    def without(self, name: str) -> TadropError:
        return TadropError(f"{self.folder} has no {name}")


@dataclass(frozen=True)
class OnHub:
    """A repository of the hub; see Repository.

    kind:    models or datasets
    place:   org/name
    offline: why it cannot be downloaded from, or an empty string if it can
    missing: the error about a file that is nowhere, by the reason and the file
    """

    kind: str
    place: str
    commit: str
    names: tuple[str, ...]
    offline: str
    missing: Callable[[str, str], TadropError]
    folder: Path | None = None

    @property
    def complete(self) -> bool:
        return not self.offline

    @property
    def _type(self) -> str:
        """What the hub library calls its kind."""
        return self.kind.removesuffix("s")

    def at_hand(self, name: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(
            self.place, name, revision=self.commit, repo_type=self._type
        )
        return Path(path) if isinstance(path, str) else None

    def file(self, name: str) -> Path:
        path = self.at_hand(name)
        if path is not None:
            return path
        if self.offline:
            raise self.without(name)
        return self.downloaded(name, self.commit)

    def downloaded(self, name: str, revision: str | None) -> Path:
        """A file, downloaded into the hub library's
        cache by this name of a revision.
        """
        from huggingface_hub import hf_hub_download

        try:
            path = hf_hub_download(
                self.place,
                name,
                repo_type=self._type,
                revision=revision,
                tqdm_class=report(f"{self.place}/{name}"),
            )
        # The library's exceptions are of many kinds; to the user they mean the same.
        except Exception as error:
            raise self.missing(first_line(error), name) from error
        return Path(path)

    def opened(self, name: str) -> IOBase:
        from huggingface_hub import HfFileSystem

        if self.offline:
            raise self.without(name)
        kind = "" if self.kind == "models" else f"{self.kind}/"
        return HfFileSystem().open(f"{kind}{self.place}@{self.commit}/{name}", "rb")

    def without(self, name: str) -> TadropError:
        if self.offline:
            return self.missing(self.offline, name)
        return TadropError(f"{self.place} on the hub has no {name}")


def find(
    kind: str,
    name: str,
    hub: str | None,
    wanted_by: str,
    revision: str | None = None,
) -> Repository:
    """Where the files of `org/name` are. Raises TadropError if they are nowhere.

    hub: the local folder in the hub's layout
    """
    if path := hubs.local(kind, name, hub):
        return Folder(path)
    hubs.check_id(name)
    missing = partial(hubs.absent, kind, name, hub, wanted_by)
    reason = hubs.unreachable()
    if not reason:
        # A hub that does not answer must not keep anyone from files that are here.
        try:
            return _listed(kind, name, revision, missing)
        except Exception as error:
            reason = first_line(error)
    cached = _cached(kind, name, revision, reason, missing)
    if cached is None:
        raise missing(reason, "")
    return cached


def at_hand(
    kind: str, name: str, hub: str | None, revision: str | None = None
) -> Repository | None:
    """Where the files of `org/name` are that are on this machine; None for nowhere.

    Looking asks no network.
    """
    if path := hubs.local(kind, name, hub):
        return Folder(path)
    missing = partial(hubs.absent, kind, name, hub, "this command")
    return _cached(kind, name, revision, "looking downloads nothing", missing)


def _listed(
    kind: str,
    name: str,
    revision: str | None,
    missing: Callable[[str, str], TadropError],
) -> OnHub:
    """A repository as the hub lists it. Raises what the library raises."""
    from huggingface_hub import HfApi

    api = HfApi()
    ask = api.dataset_info if kind == "datasets" else api.model_info
    info = ask(name, revision=revision)
    names = sorted(entry.rfilename for entry in info.siblings or ())
    if info.sha is None:
        raise TadropError(f"the hub tells no commit of {name}")
    repository = OnHub(kind, name, info.sha, tuple(names), "", missing)
    noted = [small for small in NOTED if small in names]
    if noted and repository.at_hand(noted[0]) is None:
        repository.downloaded(noted[0], revision)
    return repository


def _cached(
    kind: str,
    name: str,
    revision: str | None,
    reason: str,
    missing: Callable[[str, str], TadropError],
) -> OnHub | None:
    """A repository as far as the hub library's cache has it; None if not at all."""
    from huggingface_hub import snapshot_download

    try:
        # With no pattern to fit, the library tells the folder whatever is in it.
        folder = snapshot_download(
            name,
            repo_type=kind.removesuffix("s"),
            revision=revision,
            allow_patterns=[],
            local_files_only=True,
        )
    # It has exceptions of many kinds for what is not in the cache.
    except Exception:
        return None
    path = Path(folder)
    return OnHub(kind, name, path.name, _names_in(path), reason, missing, path)


def _names_in(folder: Path) -> tuple[str, ...]:
    """The paths of all files below a folder; the cache's are links to blobs."""
    names = []
    for path in folder.rglob("*"):
        if path.is_file():
            names.append(path.relative_to(folder).as_posix())
    return tuple(sorted(names))
