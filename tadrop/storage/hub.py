"""Where public models and data sets are found: a local folder in the hub's layout
first, then the hub itself.

`paths.hub=DIR` stands for DIR/models/org/name and DIR/datasets/org/name. What is not
there is downloaded once into the usual Hugging Face cache. With neither, one line says
what was wanted, where it was looked for and how to provide it.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tadrop.storage.checkpoint import FILES
from tadrop.types import TadropError

MODEL_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "tokenizer*.json",
    "vocab.json",
    "*.txt",
)
TIMEOUT = 5  # seconds to find out that there is no network


@lru_cache
def unreachable() -> str:
    """Why the hub cannot be used, or nothing. One short request: the client's own
    retries take half a minute.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT, follow_redirects=True)
    # each HTTP client has its own zoo of exceptions; all mean the same here
    except Exception as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def local(kind: str, reference: str, hub: str | None) -> Path | None:
    """The path of `org/name[/file]` under the local folder, or a path that exists as it
    stands; None if neither.
    """
    places = [Path(reference)] + ([Path(hub) / kind / reference] if hub else [])
    return next((place for place in places if place.exists()), None)


def absent(
    kind: str,
    reference: str,
    hub: str | None,
    wanted_by: str,
    reason: str,
    file: str = "",
) -> TadropError:
    """The one line about something that is nowhere."""
    looked = (
        f"{Path(hub) / kind / reference}"
        if hub
        else "no local folder (paths.hub is not set)"
    )
    example = f"DIR/{kind}/{reference}" + (f"/{file}" if file else "")
    return TadropError(
        f"{wanted_by} needs {reference}; looked in {looked} and on the Hugging Face hub ({reason}). "
        f"Go online, or put it at {example} and set paths.hub=DIR"
    )


def model(
    reference: str, hub: str | None, wanted_by: str, revision: str | None = None
) -> Path:
    """The checkpoint file or folder of `org/name` or `org/name/path/in/it`, downloaded
    if need be.
    """
    if found := local("models", reference, hub):
        return found
    parts = reference.split("/")
    if len(parts) < 2 or reference.startswith(("/", ".")):
        raise TadropError(f"{wanted_by} needs {reference}; there is no such path")
    inside = "/".join(parts[2:])
    example = "" if inside else FILES[0]
    return _download(
        "/".join(parts[:2]),
        (inside,) if inside else FILES,
        revision,
        hub,
        wanted_by,
        example,
    )


def _download(
    repository: str,
    files: Sequence[str],
    revision: str | None,
    hub: str | None,
    wanted_by: str,
    example: str,
) -> Path:
    """The first of the files that the repository has; its shards with it if it is an
    index.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    reference = repository if example else f"{repository}/{files[0]}"
    offline = unreachable()
    for file in files:
        try:
            path = Path(
                hf_hub_download(
                    repository, file, revision=revision, local_files_only=bool(offline)
                )
            )
        except EntryNotFoundError as error:
            if not offline and file == files[-1]:
                raise absent(
                    "models",
                    reference,
                    hub,
                    wanted_by,
                    f"it has none of {', '.join(files)}",
                ) from error
            continue
        except Exception as error:
            raise absent(
                "models", reference, hub, wanted_by, str(error).splitlines()[0], example
            ) from error
        if file.endswith(".index.json"):
            snapshot_download(
                repository, revision=revision, allow_patterns=["*.safetensors", file]
            )
        return path
    raise absent("models", reference, hub, wanted_by, offline, example)


def resolve(
    kind: str, reference: str, hub: str | None, patterns: Sequence[str] = MODEL_FILES
) -> Path:
    """The folder of a model or data set, downloaded as far as patterns go;
    `org/name@revision` pins a revision.

    kind: models or datasets. reference may go on into the repository: org/name/folder.
    What is there locally is taken as it is, a single file too.
    """
    name, _, revision = reference.partition("@")
    if found := local(kind, name, hub):
        return found
    organisation, _, rest = name.partition("/")
    repository, _, inside = rest.partition("/")
    if not repository or organisation in ("", ".", ".."):
        raise TadropError(
            f"there is no {reference}, and it is no hub id of the form org/name"
        )
    from huggingface_hub import snapshot_download

    offline = unreachable()
    try:
        found = snapshot_download(
            f"{organisation}/{repository}",
            repo_type=kind[:-1],
            revision=revision or None,
            allow_patterns=[inside, *(f"{inside}/{p}" for p in patterns)]
            if inside
            else list(patterns),
            local_files_only=bool(offline),
        )
    except Exception as error:
        reason = offline or str(error).splitlines()[0]
        raise absent(kind, name, hub, f"this {kind[:-1]}", reason) from error
    target = Path(found, inside)
    if not target.exists():
        raise absent(
            kind,
            name,
            hub,
            f"this {kind[:-1]}",
            offline or f"{organisation}/{repository} has no {inside}",
        )
    if (
        kind == "models"
        and patterns == MODEL_FILES
        and not any(target.glob("*.safetensors"))
    ):
        return resolve(
            kind, reference, hub, (*MODEL_FILES, "pytorch_model*.bin")
        )  # an old repository has no others
    return target
