"""Choosing the scale (lambda). The rule has a name, sees validation data only, and stands in the record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tadrop.types import Score, TadropError

RULES = ("fixed", "grid")


def check_rule(rule: str) -> None:
    """Raises TadropError unless the rule is one of RULES."""
    if rule not in RULES:
        raise TadropError(f"select is {rule!r}; it must be one of {', '.join(RULES)}")


@dataclass(frozen=True)
class Selection:
    """The scale that was taken, the rule that took it, and for a grid the validation average at every point."""

    rule: str
    scale: float
    split: str | None = None
    grid: tuple[tuple[float, float], ...] = ()


def select(rule: str, scale: float, grid: Sequence[float], validate: Callable[[float], Sequence[Score]]) -> Selection:
    """fixed: the published scale. grid: highest mean validation metric over tasks; the smallest scale among equals."""
    if rule == "fixed" or (rule == "grid" and len(grid) <= 1):
        return Selection("fixed", float(scale))
    check_rule(rule)
    points = []
    for candidate in sorted(grid):
        scores = validate(candidate)
        points.append((float(candidate), sum(s.value for s in scores) / len(scores)))
    best = max(points, key=lambda point: (point[1], -point[0]))
    return Selection("grid", best[0], "validation", tuple(points))
