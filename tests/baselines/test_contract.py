"""What every row keeps, discovered from conf/merge/*.yaml: a new row is checked because it is
there.

A row that breaks a rule by design says so under `exceptions:` in its YAML, with the reason.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from tadrop.app import build
from omegaconf import OmegaConf

from tadrop.merging.engine import merge
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
    """The configuration of every row that reads no data; what a row reads is said in its YAML."""
    cfg = config(request.param)
    assert "data" in cfg.merge, (
        f"conf/merge/{request.param}.yaml does not say what data it reads"
    )
    if cfg.merge.data != "none":
        pytest.skip(f"reads data: {cfg.merge.data}")
    return cfg


def excused(cfg, rule):
    if reason := cfg.merge.get("exceptions", {}).get(rule):
        pytest.skip(reason)


def draw(count, seed=0):
    """Random task vectors with exact zeros, values met twice and every kind of tensor."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda shape: torch.randn(shape, generator=generator)  # noqa: E731
    taus = {
        f"t{t}": {n: 1e-2 * normal(s) * (normal(s) > -1.2) for n, s in SHAPES.items()}
        for t in range(count)
    }
    taus["t0"]["table"][1] = taus["t0"]["table"][0]
    return taus


def open_stream(taus, theta0=None):
    generator = torch.Generator().manual_seed(99)
    theta0 = theta0 or {
        n: torch.randn(s, generator=generator) for n, s in SHAPES.items()
    }
    return replace(stream_of(taus, theta0), matrix_layouts=LAYOUTS)


def tasks_of(cfg):
    return cfg.merge.get("models", 3)


def cut(stream, cfg):
    """The stream behind the row's own sparsifier."""
    return stream if cfg.sparsify is None else Sparse(stream, build.rule(cfg.sparsify))


def deltas(stream, cfg):
    """{(task, tensor): delta} of a row on a stream, without a sparsifier unless the stream has one."""
    merged = merge(stream, instantiate(cfg.merge.method))
    return {(t, n): merged.delta(t, n) for t in stream.tasks for n in stream.names}


def same_bits(ours, theirs):
    return ours.keys() == theirs.keys() and all(
        torch.equal(v, theirs[k]) for k, v in ours.items()
    )


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
    stream = (
        dropped(tasks_of(row)) if tadrop else cut(open_stream(draw(tasks_of(row))), row)
    )
    merged = merge(stream, instantiate(row.merge.method))
    assert set(merged.names) == set(SHAPES)
    for task in stream.tasks:
        for name, shape in SHAPES.items():
            delta = merged.delta(task, name)
            assert delta.shape == shape, name
            assert delta.dtype == torch.float32, name
            assert torch.isfinite(delta).all(), name
    stores = any(
        merged.delta(task, name).any() for task in stream.tasks for name in SHAPES
    )
    assert (merged.stored_bytes() > 0) == stores
    assert 0 <= merged.density <= 1


def test_inputs_stay_as_they_were(row):
    stream = open_stream(draw(tasks_of(row)))
    before = {
        t: {n: v.clone() for n, v in e.tensors.items()}
        for t, e in stream.experts.items()
    }
    base = {n: v.clone() for n, v in stream.base.tensors.items()}
    deltas(cut(stream, row), row)
    assert all(
        torch.equal(v, before[t][n])
        for t, e in stream.experts.items()
        for n, v in e.tensors.items()
    )
    assert all(torch.equal(v, base[n]) for n, v in stream.base.tensors.items())


def test_a_merge_does_not_write_into_its_task_vectors(row):
    """Formulas are pure: a stream that hands out its own storage gets it back unchanged."""
    method = instantiate(row.merge.method)
    stream = cut(open_stream(draw(tasks_of(row))), row)
    survey = {} if method.survey is None else {"survey": method.survey(stream)}
    for name in stream.names:
        layout = stream.matrix_layouts.get(name, MatrixLayout())
        if method.scope == "matrix" and layout.kind not in method.kinds:
            taus, function, handed = stream.taus(name), method.rest, {}
        else:
            (taus,) = (
                layout.split(stream.taus(name), "whole")
                if method.scope == "matrix"
                else [stream.taus(name)]
            )
            function, handed = method.merge, dict(survey)
            handed |= (
                {"uncut": stream.uncut.taus(name)} if "uncut" in method.needs else {}
            )
            handed |= (
                {"theta0": stream.theta0(name)} if "theta0" in method.needs else {}
            )
        before = taus.clone()
        function(taus, **handed)
        assert torch.equal(taus, before), name


def test_zero_in_zero_out(row):
    excused(row, "zero")
    taus = {
        t: {n: torch.zeros(s) for n, s in SHAPES.items()} for t in draw(tasks_of(row))
    }
    assert not any(
        delta.any() for delta in deltas(cut(open_stream(taus), row), row).values()
    )


def test_one_task_is_itself(row):
    """Without its sparsifier and at scale 1, a method gives a single task its own model."""
    excused(row, "one_task")
    taus = draw(1)
    stream = open_stream(taus)
    for (task, name), delta in deltas(stream, row).items():
        torch.testing.assert_close(
            delta, stream.taus(name)[0], atol=1e-6, rtol=1e-5, msg=f"{task} {name}"
        )


def test_the_order_of_tasks_does_not_matter(row):
    excused(row, "task_order")
    taus = draw(tasks_of(row))
    forward = deltas(cut(open_stream(taus), row), row)
    backward = deltas(cut(open_stream(dict(reversed(taus.items()))), row), row)
    for key, delta in forward.items():
        torch.testing.assert_close(
            backward[key], delta, atol=1e-5, rtol=1e-3, msg=str(key)
        )


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


def degenerate():
    """Task vectors that divide by zero where a formula is careless; the last fits every number of
    tasks.
    """
    ones = {n: torch.ones(s) for n, s in SHAPES.items()}
    zeros = {n: torch.zeros(s) for n, s in SHAPES.items()}
    some = draw(1)["t0"]
    return {
        "one task is zero": (zeros, some, some),
        "all equal": (some, some, some),
        "opposites": (some, {n: -v for n, v in some.items()}, zeros),
        "constant tensors": (ones, ones, {n: -v for n, v in ones.items()}),
        "tiny": tuple(
            {n: v * 1e-30 for n, v in each.items()} for each in draw(3).values()
        ),
        "large": tuple(
            {n: v * 1e6 for n, v in each.items()} for each in draw(3).values()
        ),
        "half precision": tuple(
            {n: v.half().float() for n, v in each.items()} for each in draw(3).values()
        ),
    }


@pytest.mark.parametrize("case", degenerate())
def test_degenerate_input_is_finite(row, case):
    excused(row, "degenerate")
    taus = {f"t{t}": each for t, each in enumerate(degenerate()[case][: tasks_of(row)])}
    stream = open_stream(taus, {n: torch.zeros(s) for n, s in SHAPES.items()})
    for key, delta in deltas(cut(stream, row), row).items():
        assert torch.isfinite(delta).all(), key


def test_half_precision_checkpoints(row):
    stream = open_stream(draw(tasks_of(row)))
    half = lambda c: Checkpoint(c.path, (), {n: v.half() for n, v in c.tensors.items()})  # noqa: E731
    stream = replace(
        stream,
        base=half(stream.base),
        experts={t: half(e) for t, e in stream.experts.items()},
    )
    merged = merge(cut(stream, row), instantiate(row.merge.method))
    for task in stream.tasks:
        for name, weight in materialise(stream.base, merged, task, row.merge.scale):
            assert torch.isfinite(weight).all(), name


def test_the_scale_is_applied_after_merging(row):
    """One merge serves a grid: weights are affine in the scale."""
    stream = cut(open_stream(draw(tasks_of(row))), row)
    merged = merge(stream, instantiate(row.merge.method))
    at = {
        s: dict(
            materialise(
                stream.source.base if row.sparsify else stream.base, merged, "t0", s
            )
        )
        for s in (0, 1, 2)
    }
    for name, base in at[0].items():
        torch.testing.assert_close(
            at[2][name] - base, 2 * (at[1][name] - base), atol=1e-5, rtol=1e-4
        )


def test_a_row_is_plain_data(row):
    """A row resolves to YAML: nothing of it hides in Python."""
    OmegaConf.to_yaml(row.merge, resolve=True)
