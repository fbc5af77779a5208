"""Choosing the scale (lambda) and other knobs. The rule has a name, sees validation
data only, and is in the record.

fixed takes what the row says; a record calls it tuned where the user says that a study
chose these values on validation data (`tuned=NAME`). grid tunes in this order: knobs
with one value per task, each task by its own validation metric; then all other knobs
together with the scale, by the mean over tasks (of the raw metric; the code of
TALL-masks, TSV and Iso divides each task's by its own model's first). Among equals the
first point in ascending order is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from tadrop.types import Score, TadropError

RULES = ("fixed", "grid")


@dataclass(frozen=True)
class Selection:
    """What was taken, the rule that took it, and for a grid the validation metric at
    every point.

    grid:   (scale, mean over tasks) with the chosen knobs
    knobs:  the value of every knob; a list, in the order of tasks, where each task has its own
    trials: one mapping per point that was tried: the knobs, the scale, and per task the
    validation metric
    """

    rule: str
    scale: float
    split: str | None = None
    grid: tuple[tuple[float, float], ...] = ()
    knobs: Mapping[str, Any] = field(default_factory=dict)
    trials: tuple[Mapping[str, Any], ...] = ()


def check_rule(rule: str, tuned: str | None = None) -> None:
    """Raises TadropError unless the rule is one of RULES, and nothing is chosen twice."""
    if rule not in RULES:
        raise TadropError(f"select is {rule!r}; it must be one of {', '.join(RULES)}")
    if tuned and rule != "fixed":
        raise TadropError(
            f"tuned={tuned} says that a study chose the values and select={rule} chooses them anew"
        )


def trial(
    knobs: Mapping[str, Any], scale: float, scores: Sequence[Score]
) -> dict[str, Any]:
    """One point of a grid, as it stands in the record."""
    return {
        "knobs": dict(knobs),
        "scale": float(scale),
        "validation": {s.task: s.value for s in scores},
    }


def average(point: Mapping[str, Any]) -> float:
    """The mean over tasks of a trial's validation metric."""
    values = point["validation"].values()
    return sum(values) / len(values)


def per_task(name: str, points: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The best value of one knob for each task, in the order of the tasks."""
    tasks = list(points[0]["validation"])
    return [
        max(points, key=lambda point: point["validation"][task])["knobs"][name]
        for task in tasks
    ]


def is_per_task(rule: Mapping[str, Any]) -> bool:
    """Whether a knob of a row's `tune` has one value for each task."""
    return rule.get("each", "row") == "task"


def combinations(tune: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every combination of the knobs that all tasks share, ascending; one that is empty
    where there is no such knob.
    """
    grids = {
        name: sorted(rule["grid"])
        for name, rule in tune.items()
        if not is_per_task(rule)
    }
    return [
        dict(zip(grids, values, strict=True)) for values in product(*grids.values())
    ]


def count(tune: Mapping[str, Mapping[str, Any]], scales: int) -> int:
    """How many points a grid has."""
    return (
        sum(len(rule["grid"]) for rule in tune.values() if is_per_task(rule))
        + len(combinations(tune)) * scales
    )


def best(
    points: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]] = ()
) -> Selection:
    """The point of the highest mean over tasks, with all that was tried."""
    chosen = max(points, key=average)
    same = [point for point in points if point["knobs"] == chosen["knobs"]]
    grid = tuple((point["scale"], average(point)) for point in same)
    return Selection(
        "grid",
        chosen["scale"],
        "validation",
        grid,
        chosen["knobs"],
        (*earlier, *points),
    )
