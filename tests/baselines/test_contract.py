"""What every row keeps; rows are found by conf/merge/*.yaml, new ones too.

A row that breaks a rule by design says so under `exceptions:` in its YAML, with the reason.
"""

from dataclasses import replace
from functools import cache
from itertools import permutations, product
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tadrop.app.runs import build
from tadrop.merging.engine import merge
from tadrop.sparsify.chain import sparsified
from tadrop.sparsify.cut_stream import Sparse
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import MatrixLayout
from tadrop.vectors import passes
from tadrop.vectors.merged import materialise
from tests.golden import stream_of

CONF = Path(__file__).parents[2] / "conf"
ROWS = sorted(path.stem for path in (CONF / "merge").glob("*.yaml"))
RULES = {"one_task", "task_order", "zero", "twice", "pieces", "degenerate"}
LAYOUTS = {
    "linear": MatrixLayout("linear"),
    "fused": MatrixLayout("linear", blocks=3),
    "conv1d": MatrixLayout("linear", transposed=True),
    "row": MatrixLayout("linear"),
    "table": MatrixLayout("table"),
}
SHAPES = {
    "linear": (6, 8),
    "fused": (9, 6),
    "conv1d": (8, 6),
    "row": (1, 7),
    "table": (5, 6),
    "bias": (11,),
    "conv": (2, 3, 2, 2),
    "scalar": (),
    "empty": (0, 3),
}


@cache
def config(row):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"merge={row}"])


@pytest.fixture(params=ROWS)
def row(request):
    """The configuration of every row that reads no data, as its YAML says it."""
    cfg = config(request.param)
    file = f"conf/merge/{request.param}.yaml"
    assert "data" in cfg.merge, f"{file} does not say what data it reads"
    if cfg.merge.data != "none":
        pytest.skip(f"reads data: {cfg.merge.data}")
    return cfg


def excused(cfg, rule):
    """Skips a rule that the row breaks by design."""
    if reason := cfg.merge.get("exceptions", {}).get(rule):
        pytest.skip(reason)


def draw(count, seed=0):
    """Random task vectors with exact zeros, repeated values, every kind of tensor."""
    generator = torch.Generator().manual_seed(seed)
    taus = {}
    for t in range(count):
        tensors = {}
        for name, shape in SHAPES.items():
            values = torch.randn(shape, generator=generator)
            stays = torch.randn(shape, generator=generator) > -1.2
            tensors[name] = 1e-2 * values * stays
        taus[f"t{t}"] = tensors
    taus["t0"]["table"][1] = taus["t0"]["table"][0]
    return taus


def filled(value, shapes=SHAPES):
    """Tensors of one value."""
    return {name: torch.full(shape, value) for name, shape in shapes.items()}


def changed(tensors, change):
    """Tensors with a function applied to each."""
    return {name: change(tensor) for name, tensor in tensors.items()}


def open_stream(taus, theta0=None):
    """A stream whose tensors are what their names say; a random base unless given."""
    generator = torch.Generator().manual_seed(99)
    if theta0 is None:
        theta0 = {}
        for name, shape in SHAPES.items():
            theta0[name] = torch.randn(shape, generator=generator)
    return replace(stream_of(taus, theta0), matrix_layouts=LAYOUTS)


def tasks_of(cfg):
    return cfg.merge.get("models", 3)


def cut(stream, cfg):
    """The stream behind the row's own sparsifier."""
    rule = build.rule(cfg.sparsify)
    return stream if rule is None else sparsified(rule)(stream)


def deltas(stream, cfg):
    """{(task, tensor): delta} of a row's method on a stream."""
    merged = merge(stream, build.part(cfg.merge.method))
    keys = product(stream.tasks, stream.names)
    return {(task, name): merged.delta(task, name) for task, name in keys}


def same_bits(first, second):
    """Whether tensors by name are equal, bit for bit."""
    if first.keys() != second.keys():
        return False
    return all(torch.equal(tensor, second[key]) for key, tensor in first.items())


def test_there_are_rows():
    assert len(ROWS) >= 10


@pytest.mark.parametrize("name", ROWS)
def test_the_yaml_says_what_it_is(name):
    text = (CONF / "merge" / f"{name}.yaml").read_text()
    merge_node = config(name).merge
    assert text.startswith("# ")
    assert merge_node.name == name
    assert merge_node.title
    assert "paper" in merge_node
    assert merge_node.scale in merge_node.scale_grid
    assert set(merge_node.get("tune", {})) <= set(merge_node.get("knobs", {}))
    exceptions = merge_node.get("exceptions", {})
    assert set(exceptions) <= RULES
    assert all(len(reason) > 10 for reason in exceptions.values())


def test_titles_differ():
    titles = [config(name).merge.title for name in ROWS]
    assert len(set(titles)) == len(titles)


@cache
def dropped(count):
    """The stream behind TADrop, whose cuts are planned once for all rows."""
    return Sparse(open_stream(draw(count)), build.rule(config(ROWS[0]).tadrop))


@pytest.mark.parametrize("tadrop", [False, True], ids=["plain", "tadrop"])
def test_shapes_and_finiteness(row, tadrop):
    count = tasks_of(row)
    stream = dropped(count) if tadrop else cut(open_stream(draw(count)), row)
    merged = merge(stream, build.part(row.merge.method))
    assert set(merged.names) == set(SHAPES)
    stores = False
    for task, name in product(stream.tasks, SHAPES):
        delta = merged.delta(task, name)
        assert delta.shape == SHAPES[name], name
        assert delta.dtype == torch.float32, name
        assert torch.isfinite(delta).all(), name
        stores = stores or bool(delta.any())
    assert (merged.stored_bytes() > 0) == stores
    assert 0 <= merged.density <= 1


def test_inputs_stay_as_they_were(row):
    stream = open_stream(draw(tasks_of(row)))
    checkpoints = [stream.base, *stream.experts.values()]
    before = [changed(checkpoint.tensors, torch.clone) for checkpoint in checkpoints]
    deltas(cut(stream, row), row)
    for checkpoint, tensors in zip(checkpoints, before, strict=True):
        assert same_bits(checkpoint.tensors, tensors)


def test_a_merge_does_not_write_into_its_task_vectors(row):
    """Formulas are pure: a stream that hands out its own storage finds it unchanged."""
    method = build.part(row.merge.method)
    stream = cut(open_stream(draw(tasks_of(row))), row)
    survey = {} if method.survey is None else {"survey": method.survey(stream)}
    for name in stream.names:
        layout = stream.matrix_layouts.get(name, MatrixLayout())
        taus, function, handed = stream.taus(name), method.merge, dict(survey)
        if method.scope == "matrix" and layout.kind not in method.kinds:
            function, handed = method.rest, {}
        elif method.scope == "matrix":
            (taus,) = layout.split(taus, "whole")
        if "uncut" in method.needs:
            handed["uncut"] = stream.uncut().taus(name)
        if "theta0" in method.needs:
            handed["theta0"] = stream.theta0(name)
        if "order" in method.needs:
            handed["order"] = stream.order
        before = taus.clone()
        function(taus, **handed)
        assert torch.equal(taus, before), name


def test_zero_in_zero_out(row):
    excused(row, "zero")
    taus = {f"t{t}": filled(0.0) for t in range(tasks_of(row))}
    for key, delta in deltas(cut(open_stream(taus), row), row).items():
        assert not delta.any(), key


def test_one_task_is_itself(row):
    """Without its sparsifier and at scale 1 a method gives one task its own model."""
    excused(row, "one_task")
    stream, close = open_stream(draw(1)), {"atol": 1e-6, "rtol": 1e-5}
    for (_, name), delta in deltas(stream, row).items():
        expected = stream.taus(name)[0]
        torch.testing.assert_close(delta, expected, **close, msg=name)


def test_the_order_of_tasks_does_not_matter(row):
    """Not to a bit: sums over tasks are in the order of their names."""
    excused(row, "task_order")
    taus = draw(tasks_of(row))
    forward = deltas(cut(open_stream(taus), row), row)
    as_drawn, *others = permutations(taus)
    assert as_drawn == tuple(taus)
    for tasks in others:
        reordered = {task: taus[task] for task in tasks}
        again = deltas(cut(open_stream(reordered), row), row)
        assert same_bits({key: again[key] for key in forward}, forward), tasks


def test_same_bits_twice(row):
    excused(row, "twice")
    taus = draw(tasks_of(row))
    stream = cut(open_stream(taus), row)
    first = deltas(stream, row)
    assert same_bits(first, deltas(stream, row))
    assert same_bits(first, deltas(cut(open_stream(taus), row), row))


def test_pieces_and_whole_tensors_give_the_same_bits(row, monkeypatch):
    if row.merge.method.get("scope", "entry") != "entry":
        pytest.skip("is shown whole tensors only")
    excused(row, "pieces")
    stream = cut(open_stream(draw(tasks_of(row))), row)
    whole = deltas(stream, row)
    monkeypatch.setattr(passes, "ALIGN", 8)
    for block in (1, 3 * 16):
        monkeypatch.setattr(passes, "PIECE", block)
        assert same_bits(whole, deltas(stream, row)), block


def negative(tensors):
    return changed(tensors, torch.neg)


def degenerate():
    """Task vectors that divide by zero where a formula is careless.

    There are three of each case; a row for fewer tasks takes the first.
    """
    ones, zeros = filled(1.0), filled(0.0)
    drawn, vectors = draw(1)["t0"], draw(3).values()
    changes = {
        "tiny": lambda tensor: tensor * 1e-30,
        "large": lambda tensor: tensor * 1e6,
        "half precision": lambda tensor: tensor.half().float(),
    }
    cases = {
        "one task is zero": [zeros, drawn, drawn],
        "all equal": [drawn, drawn, drawn],
        "opposites": [drawn, negative(drawn), zeros],
        "constant tensors": [ones, ones, negative(ones)],
    }
    for case, change in changes.items():
        cases[case] = [changed(tensors, change) for tensors in vectors]
    return cases


@pytest.mark.parametrize("case", degenerate())
def test_degenerate_input_is_finite(row, case):
    excused(row, "degenerate")
    vectors = degenerate()[case][: tasks_of(row)]
    taus = {f"t{t}": tensors for t, tensors in enumerate(vectors)}
    stream = open_stream(taus, filled(0.0))
    for key, delta in deltas(cut(stream, row), row).items():
        assert torch.isfinite(delta).all(), key


def test_half_precision_checkpoints(row):
    def half(checkpoint):
        tensors = changed(checkpoint.tensors, torch.Tensor.half)
        return Checkpoint(checkpoint.path, (), tensors)

    stream = open_stream(draw(tasks_of(row)))
    experts = {task: half(expert) for task, expert in stream.experts.items()}
    stream = replace(stream, base=half(stream.base), experts=experts)
    merged = merge(cut(stream, row), build.part(row.merge.method))
    for task in stream.tasks:
        for name, weight in materialise(stream.base, merged, task, row.merge.scale):
            assert torch.isfinite(weight).all(), name


def test_the_scale_is_applied_after_merging(row):
    """One merge serves a grid: weights are affine in the scale."""
    stream = cut(open_stream(draw(tasks_of(row))), row)
    merged = merge(stream, build.part(row.merge.method))
    source = stream
    while isinstance(source, Sparse):
        source = source.source
    checkpoint = source.base
    base, once, twice = (
        dict(materialise(checkpoint, merged, "t0", scale)) for scale in (0.0, 1.0, 2.0)
    )
    for name, theta0 in base.items():
        expected = 2 * (once[name] - theta0)
        close = {"atol": 1e-5, "rtol": 1e-4}
        torch.testing.assert_close(twice[name] - theta0, expected, **close)


def test_a_row_is_plain_data(row):
    """A row resolves to YAML: nothing of it hides in Python."""
    OmegaConf.to_yaml(row.merge, resolve=True)
