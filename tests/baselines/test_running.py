"""Task vectors one by one give what all of them at once give, after every arrival."""

import itertools
from dataclasses import replace

import pytest
import torch
from hydra import compose, initialize_config_dir

from baselines import emr, ties
from tadrop.app.places import CONF
from tadrop.app.runs import build
from tadrop.app.runs.arriving import Arrivals, _merged, _read, _take, _write, order_of
from tadrop.merging import engine
from tadrop.types import MatrixLayout, TadropError
from tests import golden, tiny

LAYOUTS = {
    "linear": MatrixLayout("linear"),
    "fused": MatrixLayout("linear", blocks=3),
    "conv1d": MatrixLayout("linear", transposed=True),
    "table": MatrixLayout("table"),
}
SHAPES = {"linear": (6, 8), "fused": (9, 6), "conv1d": (8, 6), "table": (5, 6)}
SHAPES |= {"bias": (11,), "scalar": ()}


def rows():
    """Every row that says how it takes task vectors one by one."""
    return [p.stem for p in sorted((CONF / "merge").glob("*.yaml")) if _says(p)]


def _says(path):
    return "\narriving:" in path.read_text()


def config(row, *words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"merge={row}", *words])


def stream(count=4):
    """Vectors with zeros, equal and opposite entries among them."""
    taus = {}
    for task in range(count):
        tensors = {}
        for name, shape in SHAPES.items():
            values = (2 * tiny.normal(*shape, words=(task, name))).round() / 2
            tensors[name] = values + (1e-3 * task if name == "linear" else 0)
        taus[f"t{task}"] = tensors
    theta0 = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    return replace(golden.stream_of(taus, theta0), matrix_layouts=LAYOUTS)


def first(whole, tasks):
    return replace(whole, experts={task: whole.experts[task] for task in sorted(tasks)})


def at_once(cfg, whole, tasks):
    """The method as it is, in this order of arrival where it has one."""
    some = first(whole, tasks)
    method = build.part(cfg.merge.method)
    if cfg.merge.name == "opcm":
        indices = [some.tasks.index(task) for task in tasks]
        method = replace(method, survey=lambda stream: indices)
    return engine.merge(some, method)


def test_six_rows_take_tasks_one_by_one():
    assert rows() == ["average", "emr", "magmax", "opcm", "task_arithmetic", "ties"]


@pytest.mark.parametrize("row", rows())
def test_one_by_one_is_all_at_once(row):
    cfg, whole = config(row), stream()
    arriving, method = build.part(cfg.merge.arriving), build.part(cfg.merge.method)
    arrivals = Arrivals(order_of(whole.tasks, 3))
    for count, task in enumerate(arrivals.order, 1):
        _take(whole, arriving, arrivals, task)
        merged = _merged(whole, method, arriving, arrivals, count)
        seen = arrivals.order[:count]
        expected = at_once(cfg, whole, seen)
        assert merged.tasks == tuple(seen)
        assert merged.density == pytest.approx(expected.density)
        for name in SHAPES:
            for one in seen:
                torch.testing.assert_close(
                    merged.delta(one, name), expected.delta(one, name)
                )


@pytest.mark.parametrize("row", rows())
def test_what_is_kept_does_not_grow(row):
    """But for EMR's two bits an entry and a sum a task, and OPCM's norm a task."""
    cfg, whole = config(row), stream(5)
    arriving, arrivals = build.part(cfg.merge.arriving), Arrivals(whole.tasks)
    sizes = []
    for task in whole.tasks:
        _take(whole, arriving, arrivals, task)
        sizes.append(arrivals.state_bytes())
    entries = sum(torch.Size(shape).numel() for shape in SHAPES.values())
    most = {"emr": 2 * (entries // 8 + len(SHAPES)) + 8 * len(SHAPES)}
    most["opcm"] = 8 * len(SHAPES)
    grown = {later - earlier for earlier, later in itertools.pairwise(sizes)}
    assert len(grown) == 1
    assert 0 <= grown.pop() <= most.get(row, 0)


@pytest.mark.parametrize("row", rows())
def test_states_come_back_from_the_disk(row, tmp_path):
    cfg, whole = config(row), stream()
    arriving, method = build.part(cfg.merge.arriving), build.part(cfg.merge.method)
    arrivals, file = Arrivals(whole.tasks), tmp_path / "states.safetensors"
    for task in whole.tasks[:2]:
        _take(whole, arriving, arrivals, task)
    arrivals.steps.append({"t0": 0.5})
    _write(file, arrivals)
    back = _read(file, whole.tasks)
    assert (back.steps, back.entries) == (arrivals.steps, arrivals.entries)
    for one in (arrivals, back):
        _take(whole, arriving, one, "t2")
    expected = _merged(whole, method, arriving, arrivals, 3)
    merged = _merged(whole, method, arriving, back, 3)
    for name in SHAPES:
        for task in whole.tasks[:3]:
            assert torch.equal(merged.delta(task, name), expected.delta(task, name))
    assert _read(file, whole.tasks[::-1]).steps == []
    file.write_bytes(file.read_bytes()[:100])
    assert _read(file, whole.tasks).steps == []


def test_settings_that_need_all_vectors_are_refused():
    with pytest.raises(TadropError, match="combine is 'max'; where tasks arrive one"):
        ties.Running("max").arrive({}, torch.ones(2), MatrixLayout())
    with pytest.raises(TadropError, match="rule is 'least_squares'; where tasks"):
        emr.Running("least_squares").arrive({}, torch.ones(2), MatrixLayout())


def test_the_order_is_drawn_task_by_task():
    names = [f"t{n}" for n in range(6)]
    order = order_of(names, 1)
    assert order == order_of(names[::-1], 1)
    assert sorted(order) == names
    assert [task for task in order if task != "t3"] == order_of(
        names[:3] + names[4:], 1
    )
    assert len({tuple(order_of(names, seed)) for seed in range(5)}) == 5
