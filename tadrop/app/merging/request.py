"""What is asked of a merge of checkpoints on disk, and the configuration that it means.

The command line, the library and recipes make a Request; what is then run is the same
configuration as that of `python run.py model=local`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tadrop.app.schema.composing import composed
from tadrop.app.schema.telling import knobs
from tadrop.app.schema.values import resolved
from tadrop.errors import TadropError
from tadrop.results import identity

# Where settings are looked for by their last word.
PARTS = ("sparsify", "tadrop", "merge")
DRAWING = ("merge", "sparsify", "tadrop")  # what may draw, from the run's seed
TWIN = "method.compiled."  # a formula's compiled twin takes the same settings


# Settings that a merge has words of its own for, as options call them.
SAID = {
    "model": "BASE and EXPERT",
    "model.base": "BASE",
    "model.experts": "EXPERT",
    "merge": "--method",
    "tadrop": "--tadrop",
    "export.dir": "-o",
    "export.dtype": "--dtype",
    "export.expand": "--expand",
    "export.shard_size": "--shard-size",
    "overwrite": "--overwrite",
}
# Parts of the configuration that are about an evaluation.
NOTHING = ("evaluate", "tasks", "limit", "select", "tuned", "finetune")


@dataclass(frozen=True)
class Request:
    """A merge that is asked for.

    base:       a word for a checkpoint (tadrop.checkpoints.words); None for none
    experts:    words; NAME=PATH names one
    method:     a row of conf/merge
    tadrop:     whether TADrop sparsifies, in the place of the row's own rule
    settings:   `key=value`, by its whole key or by its last word where that is enough
    model:      what is said of the family beside its checkpoints, as in models.local
    shard_size: the most bytes of one file, such as 5GB
    """

    base: str | None
    experts: Sequence[str]
    out: str
    method: str = "task_arithmetic"
    tadrop: bool = False
    scale: float | None = None
    settings: Sequence[str] = ()
    model: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    expand: bool = False
    shard_size: str = "5GB"
    overwrite: bool = False


def configuration(request: Request) -> DictConfig:
    """The configuration of a request, checked as a command line is."""
    for word in request.settings:
        _check_setting(request, word)
    switch = "on" if request.tadrop else "off"
    words = [
        "model=local",
        f"merge={request.method}",
        f"tadrop={switch}",
    ]
    given = ("model.base", "model.experts")
    if any(map(_is_short, request.settings)):
        plain = composed(words, given=given)
        for word in request.settings:
            words += _whole(word, plain) if _is_short(word) else [word]
    else:
        words += request.settings
    cfg = composed(words, given=given)
    base = None if request.base is None else literal(request.base)
    model = {
        "base": base,
        "experts": list(map(literal, request.experts)),
    }
    row = {} if request.scale is None else {"scale": request.scale}
    export = {
        "dir": literal(request.out),
        "dtype": request.dtype,
        "expand": request.expand,
        "shard_size": request.shard_size,
    }
    values = {
        "model": {**request.model, **model},
        "merge": row,
        "export": export,
        "overwrite": request.overwrite,
        "evaluate": False,
    }
    merged = OmegaConf.merge(cfg, values)
    assert isinstance(merged, DictConfig)
    _check_seed(request, merged)
    return merged


def _check_setting(request: Request, word: str) -> None:
    """Raises TadropError for a setting that is said otherwise, or changes no merge."""
    key, _, value = word.partition("=")
    key = key.lstrip("+~")
    if key in SAID and not (key == "tadrop" and value not in ("on", "off")):
        raise TadropError(
            f"{key}: a setting does not take it; it is said by {SAID[key]}"
        )
    if key.partition(".")[0] in NOTHING:
        raise TadropError(f"{word}: changes nothing about a merge; leave it out")
    if key in ("scale", "merge.scale") and request.scale is not None:
        raise TadropError(f"{word}: the scale is {request.scale:g} already")
    part = key.removeprefix("model.").partition(".")[0]
    if key.startswith("model.") and request.model.get(part):
        raise TadropError(f"{word}: {part} was said already")


def _check_seed(request: Request, cfg: DictConfig) -> None:
    """Raises TadropError for a seed where nothing is drawn."""
    kept = identity.settings(resolved(cfg, missing=False))
    draws = identity.takes_seed([kept[word] for word in DRAWING])
    for word in request.settings:
        if word.startswith("seed=") and not draws:
            raise TadropError(
                f"{word}: nothing is drawn by merge={request.method}, so no seed "
                "changes it; leave it out"
            )


def literal(word: str) -> str:
    """A word as the configuration takes it. Raises TadropError where it cannot."""
    if "${" in word:
        raise TadropError(f"{word}: a path with ${{ in it is not read; rename it")
    return word


def _is_short(word: str) -> bool:
    key = word.partition("=")[0]
    return "." not in key and key.isidentifier()


def _whole(word: str, plain: DictConfig) -> list[str]:
    """A setting by its whole key, and that of a formula's compiled twin.

    Raises TadropError where its last word is not enough.
    """
    short, _, value = word.partition("=")
    if short in plain:
        return [word]
    keys: list[str] = []
    for key in knobs(plain):
        if key.startswith(PARTS) and key.endswith(f".{short}"):
            keys.append(key)
    formulas: list[str] = []
    for key in keys:
        if TWIN not in key:
            formulas.append(key)
    if len(formulas) > 1:
        raise TadropError(
            f"--set {word}: {short} may be {', '.join(formulas)}; say which, as KEY=VALUE"
        )
    return [f"{key}={value}" for key in keys] if keys else [word]
