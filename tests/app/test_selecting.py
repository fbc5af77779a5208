"""Knobs and scales that validation data choose, from the grids of the rows."""

from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir

from tadrop.app.console import Progress
from tadrop.app.places import CONF
from tadrop.app.runs import selecting
from tadrop.app.runs.prepared import Prepared
from tadrop.evaluation import selection as rules
from tadrop.types import Score
from tadrop.vectors.merged import Merged
from tests.golden import golden


def config(*words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(words))


def trial(value, **scores):
    """A point of a grid whose knob k has a value."""
    measured = []
    for task, score in scores.items():
        measured.append(Score(task, "validation", "accuracy", score, 10))
    return rules.trial({"k": value}, 1, measured)


def test_each_task_takes_its_best_and_the_first_among_equals():
    points = [
        trial(0.2, a=0.5, b=0.9),
        trial(0.4, a=0.8, b=0.9),
        trial(0.6, a=0.7, b=0.1),
    ]
    assert rules.per_task("k", points) == [0.4, 0.2]
    best = rules.best(points)
    assert (best.knobs, best.scale, best.split) == ({"k": 0.4}, 1, "validation")
    assert best.grid == ((1.0, pytest.approx(0.85)),)
    assert len(best.trials) == 3


def test_combinations_leave_out_what_is_per_task():
    tune = {
        "a": {"grid": [2, 1]},
        "b": {"grid": [3, 4]},
        "c": {"grid": [5], "each": "task"},
    }
    assert rules.combinations(tune) == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
        {"a": 2, "b": 4},
    ]
    assert rules.combinations({}) == [{}]
    assert rules.count(tune, scales=10) == 41


def tuned(row, monkeypatch, judge):
    """The selection of a row on the golden stream.

    judge(task, merged, scale) is what an evaluation finds.
    """

    def evaluate(bench, merged, scale, split, names=None, on_task=lambda score: None):
        assert split == "validation"
        scores = []
        for task in merged.tasks:
            value = judge(task, merged, scale)
            scores.append(Score(task, split, "accuracy", value, 1))
        return scores

    monkeypatch.setattr(selecting, "evaluate", evaluate)
    cfg = config(f"merge={row}", "select=grid")
    stream = golden()
    bench = SimpleNamespace(tasks=SimpleNamespace(names=stream.tasks))
    prepared = Prepared(cfg, stream, stream, bench)
    merged = selecting.merge(prepared, cfg.merge.method, Progress())
    return selecting.select(prepared, merged, Progress())


def kept(merged, task):
    """How many entries of a task's delta are not zero."""
    deltas = (merged.delta(task, name) for name in merged.names)
    return sum(int(delta.count_nonzero()) for delta in deltas)


def masked(value):
    """How many entries each task keeps with one lambda for all, by task."""
    cfg = config("merge=tall_mask", f"merge.knobs.lambdas={value}")
    prepared = Prepared(cfg, golden(), golden())
    merged = selecting.merge(prepared, cfg.merge.method, Progress())
    return {task: kept(merged, task) for task in merged.tasks}


def test_tall_masks_are_tuned_task_by_task(monkeypatch):
    best = {"t1": 0.2, "t2": 0.6, "t3": 0.4}
    counts = {value: masked(value) for value in (0.2, 0.3, 0.4, 0.5, 0.6)}
    wanted = {task: counts[value][task] for task, value in best.items()}

    def judge(task, merged, scale):
        return -abs(kept(merged, task) - wanted[task])

    merged, selection = tuned("tall_mask", monkeypatch, judge)
    assert {task: kept(merged, task) for task in merged.tasks} == wanted
    for task, value in zip(best, selection.knobs["lambdas"], strict=True):
        assert counts[value][task] == wanted[task]
    assert len(selection.trials) == 5 + 1
    assert selection.rule == "grid"


def test_consensus_tunes_masks_with_tall_models_and_then_the_rest_together(monkeypatch):
    def judge(task, merged, scale):
        if not merged.is_shared:
            return 0.0
        return -abs(scale - 0.7) - abs(kept(merged, task) - 9)

    merged, selection = tuned("consensus_ta", monkeypatch, judge)
    assert selection.scale == 0.7
    assert selection.knobs["lambdas"] == [0.2, 0.2, 0.2]
    assert len(selection.trials) == 5 + 3 * 10
    assert len(selection.grid) == 10
    assert merged.is_shared
    assert all(trial["scale"] == 1.0 for trial in selection.trials[:5])


def test_pcb_tunes_its_ratio_with_the_scale(monkeypatch):
    def judge(task, merged, scale):
        return scale + kept(merged, task)

    merged, selection = tuned("pcb", monkeypatch, judge)
    assert (selection.knobs, selection.scale) == ({"ratio": 0.2}, 2.2)
    assert merged.names


def test_fixed_takes_what_the_row_says():
    merged = Merged(("t1",), {})
    prepared = Prepared(config("merge=pcb"), golden(), golden())
    same, selection = selecting.select(prepared, merged, Progress())
    assert same is merged
    assert (selection.rule, selection.scale) == ("fixed", 1.2)
    assert dict(selection.knobs) == {"ratio": 0.05}
