"""Merges with the row's own settings, or with those that validation data choose.

How points are compared stands in tadrop/evaluation/selection.py; here they are made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from tadrop.app.console import Progress
from tadrop.app.runs import build
from tadrop.app.runs.prepared import Prepared
from tadrop.evaluation import selection as rules
from tadrop.evaluation.bench import evaluate
from tadrop.evaluation.selection import Selection
from tadrop.merging import engine
from tadrop.vectors.merged import Merged

Trial = Mapping[str, Any]  # one point of a grid: its knobs, its scale, its scores
OWN_METHOD = "merge.method"  # where a row's method stands in the configuration


def merge(prepared: Prepared, method: Any, progress: Progress) -> Merged:
    """What a method's node makes of the prepared task vectors, held in memory."""
    stream = prepared.stream
    tick = progress.bar("merge", len(stream.names))
    return engine.merge(
        stream, build.part(method), lambda name: tick(), prepared.statistics
    )


def select(
    prepared: Prepared, first: Merged, progress: Progress
) -> tuple[Merged, Selection]:
    """The scale and knobs that cfg.select takes, and the merge with them.

    first: the merge with the row's own knobs
    """
    row, rule, tuned = prepared.cfg.merge, prepared.cfg.select, prepared.cfg.tuned
    rules.check_rule(rule, tuned)
    knobs, tune = _plain(row, "knobs"), _plain(row, "tune")
    if tuned:
        return first, Selection("tuned", float(row.scale), "validation", knobs=knobs)
    scales = sorted(row.scale_grid)
    if rule == "fixed" or (len(scales) <= 1 and not tune):
        return first, Selection("fixed", float(row.scale), knobs=knobs)
    points = rules.count(tune, len(scales))
    tick = progress.bar("select", points * len(prepared.evaluated().tasks.names))
    grid = Grid(prepared, tick)
    knobs, earlier = grid.knobs_by_task(knobs, tune)
    known = None if tune else first
    trials: list[Trial] = []
    for shared in rules.combinations(tune):
        trials += grid.trials(OWN_METHOD, knobs | shared, scales, known)
    selection = rules.best(trials, earlier)
    if known is not None:
        return known, selection
    return grid.merge(OWN_METHOD, selection.knobs), selection


def _plain(row: Any, key: str) -> dict[str, Any]:
    """A part of a merge row as it is written; empty where the row has none."""
    return build.resolved(row[key]) if key in row else {}


@dataclass(frozen=True)
class Grid:
    """Points of a grid of settings, each merged and evaluated on validation data.

    tick: called once for every task of every point
    """

    prepared: Prepared
    tick: Callable[[], None]

    def merge(self, node: str, knobs: Mapping[str, Any]) -> Merged:
        """The merge by the method at this node, with these knobs in its settings."""
        cfg = self.prepared.cfg
        if knobs:
            cfg = OmegaConf.merge(cfg, {"merge": {"knobs": dict(knobs)}})
        return merge(self.prepared, OmegaConf.select(cfg, node), Progress())

    def trials(
        self,
        node: str,
        knobs: Mapping[str, Any],
        scales: Sequence[float],
        known: Merged | None = None,
    ) -> list[Trial]:
        """A trial for every scale with these knobs. known: their merge,
        if it is made.
        """
        merged = self.merge(node, knobs) if known is None else known
        bench = self.prepared.evaluated()
        made: list[Trial] = []
        for scale in scales:
            scores = evaluate(
                bench, merged, scale, "validation", on_task=lambda score: self.tick()
            )
            made.append(rules.trial(knobs, scale, scores))
        return made

    def knobs_by_task(
        self, knobs: Mapping[str, Any], tune: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[Trial]]:
        """The knobs, with every one that has a value for each task tuned;
        the trials.
        """
        chosen, tried = dict(knobs), []
        for name, rule in tune.items():
            if not rules.is_per_task(rule):
                continue
            node = f"merge.tune.{name}.method" if "method" in rule else OWN_METHOD
            scale = rule.get("scale", self.prepared.cfg.merge.scale)
            trials: list[Trial] = []
            for value in sorted(rule["grid"]):
                trials += self.trials(node, chosen | {name: value}, [scale])
            chosen[name] = rules.per_task(name, trials)
            tried += trials
        return chosen, tried
