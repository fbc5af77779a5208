"""What a merge that is written and not evaluated cannot do, told without torch."""

from collections.abc import Sequence
from typing import Any

from tadrop.app.schema import idle
from tadrop.errors import TadropError

# The parts of a merge row that read data or run the model.
READING = ("search", "statistics", "refine")


def check_only_merges(cfg: Any) -> None:
    """Raises TadropError for what a merge that
    is written and not evaluated cannot do.
    """
    if not cfg.export.dir:
        raise TadropError("evaluate=false only merges: say where to, export.dir=OUT")
    if cfg.pack:
        raise TadropError(
            "pack=true evaluates what is read back, and needs evaluate=true; with "
            "export.dir it then leaves the packed file there"
        )
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
