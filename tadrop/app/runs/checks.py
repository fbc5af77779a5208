"""What can be said of a configuration before anything is read."""

from collections.abc import Sequence
from typing import Any

from tadrop.app.runs import arriving, build
from tadrop.app.runs.build import resolved
from tadrop.app.runs.opening import device_of, dtype_of
from tadrop.app.schema import idle, telling
from tadrop.evaluation.selection import check_rule
from tadrop.results import identity
from tadrop.types import TadropError

# What a merge row may say under `data:`, and the split that it then reads beside the one
# that is reported. Test inputs are those of the reported split.
DATA = {
    "none": None,
    "validation labels": "validation",
    "training inputs": "train",
    "training labels": "train",
    "test inputs": None,
}
# The parts of a merge row that read data or run the model.
READING = ("search", "statistics", "refine")


def check(cfg: Any) -> None:
    """Checks every word, then builds all that only needs the configuration.

    What the words mean together shows here, before anything is read. Raises TadropError.
    """
    telling.check_composed(cfg)
    check_rule(cfg.select, cfg.tuned)
    device_of(cfg.device)
    dtype_of(cfg.dtype)
    identity.steps(resolved(cfg))
    build.rule(cfg.sparsify)
    build.tadrop(cfg)
    model, tasks = build.model(cfg.model), build.tasks(cfg.tasks)
    if cfg.evaluate:
        model.bound(tasks)
    build.part(cfg.merge.method)
    arriving.check(cfg)
    for word in READING:
        build.part(cfg.merge.get(word))


def split_of(data: str) -> str | None:
    """The split that a merge row's `data:` sees before it is evaluated;
    None for none.
    """
    if data not in DATA:
        raise TadropError(
            f"merge.data is {data!r}; it must be one of {', '.join(DATA)}"
        )
    return DATA[data]


def check_only_merges(cfg: Any) -> None:
    """Raises TadropError for what a merge that
    is written and not evaluated cannot do.
    """
    if not cfg.export.dir:
        raise TadropError("evaluate=false only merges: say where to, export.dir=OUT")
    if cfg.select != "fixed":
        raise TadropError(
            f"select={cfg.select} needs an evaluation; "
            "with evaluate=false set merge.scale instead"
        )
    experts = cfg.model.get("experts")
    wanted = cfg.merge.get("models")
    if wanted is not None and isinstance(experts, Sequence) and len(experts) != wanted:
        raise TadropError(
            f"merge={cfg.merge.name} merges {wanted} models, and there are {len(experts)}"
        )
    if cfg.model.get("base", "") is None:
        _check_baseless(cfg)
    for word in READING:
        if cfg.merge.get(word) is not None:
            raise TadropError(
                f"merge={cfg.merge.name} looks at data or at the model: "
                "it needs evaluate=true"
            )


def _check_baseless(cfg: Any) -> None:
    """Raises TadropError for a merge without a base that would depend on one."""
    if not cfg.merge.get("baseless"):
        raise TadropError(
            f"merge={cfg.merge.name} is about differences from a base; name it, or take "
            "a row that needs none (average, slerp)"
        )
    if not idle.is_off(cfg.tadrop):
        raise TadropError(
            "TADrop sparsifies differences from a base; name it, or leave TADrop off"
        )
