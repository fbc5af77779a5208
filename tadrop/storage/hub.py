"""Where public models and data sets are found: a local folder laid out like the hub
first, then the hub itself.

`paths.hub=DIR` stands for DIR/models/org/name and DIR/datasets/org/name. What is not
there is downloaded once into the usual Hugging Face cache. With neither, one line says
what was wanted, where it was looked for and how to provide it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from tadrop.errors import AbsentError, TadropError
from tadrop.storage.bars import report
from tadrop.storage.checkpoint import FILES, INDEX, first_line

MODEL_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "tokenizer*.json",
    "vocab.json",
    "*.txt",
)
PICKLES = "pytorch_model*.bin"  # what an old repository has instead of safetensors
TIMEOUT = 5  # seconds to find out that there is no network


_looking: ContextVar[bool] = ContextVar("looking", default=False)


@contextmanager
def only_looking() -> Iterator[None]:
    """Here nothing is downloaded: what is not on this machine is absent."""
    token = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(token)


def unreachable() -> str:
    """Why nothing can be downloaded, or an empty string if it can."""
    return "it was not asked" if _looking.get() else unanswered()


@lru_cache
def unanswered() -> str:
    """Why the hub cannot be used, or an empty string if it can.

    One short request finds out, since the client's own retries take half a minute.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT, follow_redirects=True)
    # Each HTTP client has exceptions of its own, which all mean the same here.
    except Exception as error:
        return first_line(error)
    return ""


def local(kind: str, reference: str, hub: str | None) -> Path | None:
    """The path of `org/name[/file]` if it is on this machine, or None.

    It is a path that exists as it stands, or one under the local folder `hub`. kind:
    models or datasets.
    """
    path = Path(reference)
    if path.exists():
        return path
    if hub:
        path = Path(hub) / kind / reference
        if path.exists():
            return path
    return None


LOG_IN = "log in with hf auth login, and ask for access where its page says so"


def absent(
    kind: str,
    reference: str,
    hub: str | None,
    wanted_by: str,
    reason: str | Exception,
    file: str = "",
) -> AbsentError:
    """The error about something that is nowhere: where it was looked for,
    what to do.
    """
    looked = "no local folder (paths.hub is not set)"
    if hub:
        looked = str(Path(hub) / kind / reference)
    example = f"DIR/{kind}/{reference}" + (f"/{file}" if file else "")
    told, is_closed = _reason(reason)
    remedy = LOG_IN.capitalize() if is_closed else "Go online"
    text = (
        f"{wanted_by} needs {reference}; "
        f"looked in {looked} and on the Hugging Face hub ({told}). "
        f"{remedy}, or put it at {example} and set paths.hub=DIR"
    )
    return AbsentError(text, kind, reference, told, is_closed)


def _reason(error: str | Exception) -> tuple[str, bool]:
    """Why the hub did not help, and whether it may do so for someone who logs in."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, str):
        return error, False
    if isinstance(error, GatedRepoError):
        return "it is gated: its owner lets people in", True
    if isinstance(error, RepositoryNotFoundError):
        return "it is not there, or it is private", True
    return first_line(error), False


def model(
    reference: str,
    hub: str | None,
    wanted_by: str,
    revision: str | None = None,
    others: Sequence[str] = (),
) -> Path:
    """The checkpoint file or folder of `org/name` or `org/name/path/in/it`.

    It is downloaded if it is not on this machine. others: further paths in the same
    repository under which the file has been seen
    """
    for place in (reference, *others):
        if path := local("models", place, hub):
            return path
    parts = reference.split("/")
    if len(parts) < 2 or reference.startswith(("/", ".")):
        raise TadropError(f"{wanted_by} needs {reference}; there is no such path")
    repository = "/".join(parts[:2])
    inside = "/".join(parts[2:])
    further = [place.removeprefix(f"{repository}/") for place in others]
    files = (inside, *further) if inside else FILES
    example = "" if inside else FILES[0]
    return _download(repository, files, revision, hub, wanted_by, example)


def _download(
    repository: str,
    files: Sequence[str],
    revision: str | None,
    hub: str | None,
    wanted_by: str,
    example: str,
) -> Path:
    """The first of the files that the repository has, with its shards if it is an index.

    example: the file that an error names, if any of several files would do
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    reference = repository if example else f"{repository}/{files[0]}"
    offline = unreachable()

    def nowhere(reason: str | Exception, file: str = "") -> TadropError:
        return absent("models", reference, hub, wanted_by, reason, file)

    for file in files:
        try:
            downloaded = hf_hub_download(
                repository,
                file,
                revision=revision,
                local_files_only=bool(offline),
                tqdm_class=report(f"{repository}/{file}"),
            )
        except EntryNotFoundError as error:
            if not offline and file == files[-1]:
                raise nowhere(f"it has none of {', '.join(files)}") from error
            continue
        except Exception as error:
            raise nowhere(error, example) from error
        if file.endswith(INDEX):
            snapshot_download(
                repository,
                revision=revision,
                allow_patterns=["*.safetensors", file],
                local_files_only=bool(offline),
                tqdm_class=report(repository),
            )
        return Path(downloaded)
    raise nowhere(offline, example)


class _Address(NamedTuple):
    """Something on the hub.

    name:       org/name, and a path in the repository if there is one
    repository: org/name
    inside:     the path in the repository, or an empty string
    """

    name: str
    repository: str
    inside: str
    revision: str | None


def check_id(reference: str) -> None:
    """Raises TadropError for what does not begin as a hub id does, with org/name."""
    organisation, _, rest = reference.partition("/")
    if not rest.partition("/")[0] or organisation in ("", ".", ".."):
        raise TadropError(
            f"there is no {reference}, and it is no hub id of the form org/name"
        )


def _address(reference: str) -> _Address:
    """Reads `org/name[/path/in/it][@revision]`.
    Raises TadropError if it is not that.
    """
    check_id(reference)
    name, _, revision = reference.partition("@")
    organisation, _, rest = name.partition("/")
    repository, _, inside = rest.partition("/")
    return _Address(name, f"{organisation}/{repository}", inside, revision or None)


def resolve(
    kind: str,
    reference: str,
    hub: str | None,
    patterns: Sequence[str] = MODEL_FILES,
) -> Path:
    """The folder of a model or data set, downloaded as far as patterns go.

    kind: models or datasets. reference: `org/name`, which may go on into the repository
    (`org/name/folder`) and pin a revision (`org/name@revision`). What is on this
    machine is taken as it is, a single file too.
    """
    name, _, _ = reference.partition("@")
    if path := local(kind, name, hub):
        return path
    address = _address(reference)
    folder = _snapshot(kind, address, hub, patterns)
    wants_any_weights = kind == "models" and patterns == MODEL_FILES
    if wants_any_weights and not any(folder.glob("*.safetensors")):
        return _snapshot(kind, address, hub, (*MODEL_FILES, PICKLES))
    return folder


def _snapshot(
    kind: str,
    address: _Address,
    hub: str | None,
    patterns: Sequence[str],
) -> Path:
    """The files of a repository that fit the patterns, downloaded if need be."""
    from huggingface_hub import snapshot_download

    allowed = list(patterns)
    if address.inside:
        below = [f"{address.inside}/{pattern}" for pattern in patterns]
        allowed = [address.inside, *below]
    offline = unreachable()
    wanted_by = f"this {kind[:-1]}"
    try:
        folder = snapshot_download(
            address.repository,
            repo_type=kind[:-1],
            revision=address.revision,
            # Without a network, what is there has to do: a cache that another program
            # filled may lack a file that fits a pattern and is not needed.
            allow_patterns=[] if offline else allowed,
            local_files_only=bool(offline),
            tqdm_class=report(address.repository),
        )
    except Exception as error:
        raise absent(kind, address.name, hub, wanted_by, offline or error) from error
    target = Path(folder, address.inside)
    lacking = not any(_fitting(Path(folder), allowed))
    if not target.exists() or (offline and lacking):
        reason = offline or f"{address.repository} has no {address.inside}"
        raise absent(kind, address.name, hub, wanted_by, reason)
    return target


def _fitting(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """The files and folders that fit one of the patterns."""
    for pattern in patterns:
        yield from folder.glob(pattern)
