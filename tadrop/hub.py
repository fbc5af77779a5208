"""Where a model or a data set lies: a path, a folder laid out like the hub, or the hub itself, in this order.

paths.hub=DIR is looked at first: DIR/models/org/name and DIR/datasets/org/name. Whatever is not there is downloaded
into huggingface_hub's own cache, or taken from it without a network. An id may pin a revision: org/name@revision.
"""

from collections.abc import Sequence
from pathlib import Path

from tadrop.types import TadropError

MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "tokenizer*.json", "vocab.json", "*.txt")


def resolve(kind: str, id: str, hub: str | Path | None = None, patterns: Sequence[str] | None = None) -> Path:  # noqa: A002
    """The folder (or file) of a model or data set. kind: models or datasets; patterns: the files wanted.

    Raises TadropError, in one line, if it is neither here nor to be had.
    """
    direct = Path(id)
    if direct.exists():
        return direct
    name, _, revision = id.partition("@")
    local = None if hub is None else Path(hub) / kind / name
    if local is not None and local.exists():
        return local
    if direct.is_absolute() or name.count("/") != 1 or name.startswith("."):
        raise TadropError(f"there is no {id}, and it is no hub id of the form org/name")
    return _download(kind, name, revision or None, local, patterns)


def _download(kind: str, name: str, revision: str | None, local: Path | None, patterns: Sequence[str] | None) -> Path:
    from huggingface_hub import snapshot_download

    wanted = list(patterns) if patterns else list(MODEL_FILES) if kind == "models" else None
    try:
        found = snapshot_download(name, repo_type=kind.removesuffix("s"), revision=revision, allow_patterns=wanted)
    except Exception as error:  # offline, gated, renamed, wrong revision
        looked = "paths.hub is not set" if local is None else f"{local} is not there"
        raise TadropError(
            f"{kind}/{name}: {looked}, and it cannot be downloaded ({type(error).__name__}); "
            f"put it under paths.hub=DIR as DIR/{kind}/{name}"
        ) from error
    return Path(found)
