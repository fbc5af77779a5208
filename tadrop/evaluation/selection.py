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
    """What was taken, and the rule that took it.

    scale:  the scale that was taken
    split:  where the rule looked; None where it looked at nothing
    grid:   (scale, mean over tasks) for every scale, with the knobs that were taken
    knobs:  the value of every knob; a list, in the order of tasks, where each task has
            its own
    trials: every point that was tried: its knobs, its scale, and the validation metric
            of each task
    """

    rule: str
    scale: float
    split: str | None = None
    grid: tuple[tuple[float, float], ...] = ()
    knobs: Mapping[str, Any] = field(default_factory=dict)
    trials: tuple[Mapping[str, Any], ...] = ()


def check_rule(rule: str, tuned: str | None = None) -> None:
    """Raises TadropError unless the rule is one of RULES,
    and nothing is chosen twice.
    """
    if rule not in RULES:
        raise TadropError(f"select is {rule!r}; it must be one of {', '.join(RULES)}")
    if tuned and rule != "fixed":
        raise TadropError(
            f"tuned={tuned} says that a study chose the values "
            f"and select={rule} chooses them anew"
        )


def trial(
    knobs: Mapping[str, Any], scale: float, scores: Sequence[Score]
) -> dict[str, Any]:
    """One point of a grid, as it stands in the record."""
    validation = {score.task: score.value for score in scores}
    return {"knobs": dict(knobs), "scale": float(scale), "validation": validation}


def average(point: Mapping[str, Any]) -> float:
    """The mean over tasks of a trial's validation metric."""
    values = point["validation"].values()
    return sum(values) / len(values)


def per_task(name: str, points: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The best value of one knob for each task, in the order of the tasks."""
    values = []
    for task in points[0]["validation"]:
        metrics = [point["validation"][task] for point in points]
        best_point = points[metrics.index(max(metrics))]
        values.append(best_point["knobs"][name])
    return values


def is_per_task(rule: Mapping[str, Any]) -> bool:
    """Whether a knob of a row's `tune` has one value for each task."""
    return rule.get("each", "row") == "task"


def combinations(tune: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every combination of the knobs that all tasks share, ascending.

    Where there is no such knob, there is one combination, which is empty.
    """
    grids = {}
    for name, rule in tune.items():
        if not is_per_task(rule):
            grids[name] = sorted(rule["grid"])
    points = []
    for values in product(*grids.values()):
        points.append(dict(zip(grids, values, strict=True)))
    return points


def count(tune: Mapping[str, Mapping[str, Any]], scales: int) -> int:
    """How many points a grid has."""
    points = len(combinations(tune)) * scales
    for rule in tune.values():
        if is_per_task(rule):
            points += len(rule["grid"])
    return points


def best(
    points: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]] = ()
) -> Selection:
    """The point of the highest mean over tasks, with all that was tried."""
    chosen = max(points, key=average)
    grid = []
    for point in points:
        if point["knobs"] == chosen["knobs"]:
            grid.append((point["scale"], average(point)))
    return Selection(
        rule="grid",
        scale=chosen["scale"],
        split="validation",
        grid=tuple(grid),
        knobs=chosen["knobs"],
        trials=(*earlier, *points),
    )
