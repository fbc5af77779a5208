"""NPS-Pruning: the bands, the mixes, and that nothing but validation data is read."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from baselines import average, nps
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.sparsify.cut_stream import Sparse
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.tadrop import TADrop
from tadrop.types import TadropError, Vector
from tests import golden, tiny

# --- bands


def test_bands_by_hand():
    """The magnitudes are 0, 0.25, 0.5, 1, 1, 2, 3, 4; the two ones share a band."""
    tau = golden.TAUS["t1"]["A"]
    edges = nps.edges(Vector.of(tau), 4)
    assert edges.tolist() == [0.5, 1, 3]
    weighed = nps.weighed(tau, edges, torch.tensor([1.0, 10, 100, 1000]))
    expected = torch.tensor([[4000.0, -100, 5, 0], [-200, 3000, 0.25, 100]])
    assert torch.equal(weighed, expected)


def test_bands_have_equal_counts_and_add_up():
    tau = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    edges = nps.edges(Vector.of(tau), 7)
    bands = [nps.weighed(tau, edges, weights) for weights in torch.eye(7)]
    counts = {int(band.count_nonzero()) for band in bands}
    assert counts == {math.floor(1000 / 7), math.ceil(1000 / 7)}
    assert torch.equal(sum(bands), tau)
    for lower, upper in pairwise(bands):
        assert lower.abs().max() < upper.abs()[upper != 0].min()


def test_one_band_is_a_factor():
    tau = torch.randn(50)
    edges = nps.edges(Vector.of(tau), 1)
    assert torch.equal(nps.weighed(tau, edges, torch.tensor([0.5])), 0.5 * tau)


WEIGHTS = torch.tensor([1.0, 0.1, 2.0])


def weighed_stream(stream):
    """Thirds of every task's vector by magnitude, times 1, 0.1 and 2."""
    edges = [nps.edges(stream.vector(t, None), 3) for t in range(len(stream.tasks))]
    return nps.Weighed(stream, edges, [WEIGHTS] * len(edges), {})


def by_hand(stream, task):
    """The same of one task, flat, by sorting the whole model."""
    flat = torch.cat([stream.taus(name)[task].reshape(-1) for name in stream.names])
    order, third = flat.abs().argsort(stable=True), len(flat) / 3
    band = torch.empty(len(flat), dtype=torch.long)
    band[order] = (torch.arange(len(flat)) / third).long()
    return flat * WEIGHTS[band]


def joined(vector):
    """A vector in one piece."""
    return torch.cat(list(vector.pieces()))


def test_a_weighed_stream_is_the_vectors_weighed(bench):
    stream = tiny.stream(bench)
    weighed = weighed_stream(stream)
    for task in range(3):
        tensors = [weighed.taus(name)[task].reshape(-1) for name in weighed.names]
        expected = by_hand(stream, task)
        assert torch.equal(torch.cat(tensors), expected)
        assert torch.equal(joined(weighed.vector(task, None)), expected)
        bias = joined(weighed.vector(task, "norm.bias"))
        assert torch.equal(bias, weighed.taus("norm.bias")[task])
    whole = weighed.taus("first.weight").reshape(3, -1)
    assert torch.equal(whole[:, 5:17], weighed.taus("first.weight", 5, 17))


@pytest.mark.parametrize(
    "rule", [TADrop(0.3, 0.9), Magnitude(0.3, scope="model")], ids=["tadrop", "top"]
)
def test_a_weighed_stream_is_cut_after_it_is_weighed(rule):
    taus = {"A": tiny.normal(4, 20, words="A"), "b": tiny.normal(19, words="b")}
    stream = golden.stream_of({"t": taus})
    sparse = Sparse(weighed_stream(stream), rule)
    matrix, bias = by_hand(stream, 0).split([80, 19])
    weighed = golden.stream_of({"t": {"A": matrix.view(4, 20), "b": bias}})
    expected = Sparse(weighed, rule)
    for name in stream.names:
        assert torch.equal(sparse.taus(name), expected.taus(name))
    assert 0 < int((sparse.taus("A") != 0).sum()) < 80


# --- the row's two stages

KNOBS = {"split": "validation", "seed": 0, "evaluations": 41, "sigma": 0.5}


@pytest.fixture
def bench(tmp_path):
    return tiny.bench(tmp_path, sizes={"train": 20, "validation": 60, "test": 24})


def weigh(stream, bench, bands=4, on_step=lambda: None):
    return nps.weigh(stream, bench, on_step, bands=bands, **KNOBS)


def accuracy(bench, weights, task):
    """By the definition, on validation data."""
    bench.load(weights)
    bench.equip(task)
    inputs = bench.tasks.inputs(task, "validation")
    with torch.inference_mode():
        answers = bench.module(inputs).argmax(1)
    return float((answers == (inputs.sum(1) > 0)).double().mean())


def moved(bench, deltas):
    """The base with some deltas added."""
    return [(name, bench.theta0(name) + delta) for name, delta in deltas.items()]


def test_weights_are_those_that_suit_each_task_alone(bench):
    stream, steps = tiny.stream(bench), []
    weighed = weigh(stream, bench, on_step=lambda: steps.append(1))
    optima = weighed.found["bands"]
    assert set(optima) == set(stream.tasks)
    for index, (task, optimum) in enumerate(optima.items()):
        assert stream.tasks[index] == task
        taus = {name: weighed.taus(name)[index] for name in stream.names}
        assert accuracy(bench, moved(bench, taus), task) == optimum["value"]
        expert = bench.expert(task, stream.names)
        assert optimum["value"] >= accuracy(bench, expert, task)
        expected = torch.tensor(optimum["point"])
        torch.testing.assert_close(weighed.weights[index], expected)
    evaluations = [optimum["evaluations"] for optimum in optima.values()]
    assert len(steps) == sum(evaluations)
    assert any(optimum["point"] != (1.0,) * 4 for optimum in optima.values())


def test_another_tasks_presence_changes_no_weights(bench):
    stream = tiny.stream(bench)
    alone = replace(stream, experts={"t1": stream.experts["t1"]})
    three, one = weigh(stream, bench), weigh(alone, bench)
    assert one.found["bands"]["t1"] == three.found["bands"]["t1"]


def mixed(bench, stream, fuse, scale=1.0, **knobs):
    merged = merge(stream, Method(average.merge))
    knobs = KNOBS | {"start": 1.0, "fuse": fuse} | knobs
    return nps.mix(merged, stream, bench, scale, lambda: None, **knobs)


@pytest.mark.parametrize("fuse", ["mean", "disjoint", "sum"])
def test_mixes_are_their_formulas(bench, fuse):
    stream = Sparse(tiny.stream(bench), Magnitude(0.3, scope="model"))
    merged = mixed(bench, stream, fuse, scale=0.5, start=0.7)
    optimum = merged.found["lambdas"]
    lambdas = torch.tensor(list(optimum["point"].values())).double()
    weights = {}
    for name in stream.names:
        taus = stream.taus(name).double()
        top = torch.einsum("t,t...->...", lambdas, taus)
        kept = torch.einsum("t,t...->...", lambdas, (taus != 0).double())
        mixes = {
            "mean": top / lambdas.sum(),
            "disjoint": torch.where(kept > 0, top / kept, 0),
            "sum": top,
        }
        delta = merged.delta("t0", name)
        torch.testing.assert_close(delta.double(), mixes[fuse], atol=1e-6, rtol=1e-5)
        weights[name] = 0.5 * delta
    model = moved(bench, weights)
    accuracies = [accuracy(bench, model, task) for task in stream.tasks]
    assert optimum["value"] == pytest.approx(sum(accuracies) / 3)
    assert merged.is_shared


@pytest.mark.parametrize(("fuse", "start"), [("mean", 1.0), ("sum", 0.3)])
def test_a_search_of_one_point_is_the_plain_method(bench, fuse, start):
    stream = tiny.stream(bench)
    merged = mixed(bench, stream, fuse, start=start, evaluations=1)
    for name in stream.names:
        taus = stream.taus(name)
        expected = {"mean": taus.mean(0), "sum": 0.3 * taus.sum(0)}[fuse]
        torch.testing.assert_close(merged.delta("t0", name), expected)


def test_the_mix_is_no_worse_than_where_it_began(bench):
    stream = tiny.stream(bench)
    first = mixed(bench, stream, "sum", evaluations=1).found["lambdas"]
    last = mixed(bench, stream, "sum", evaluations=60).found["lambdas"]
    assert last["value"] > first["value"]


def test_all_lambdas_zero_is_the_base():
    taus = torch.randn(3, 5)
    for fuse in nps.FUSE.values():
        assert not fuse(taus, torch.zeros(3)).any()


def test_only_the_named_split_is_read(bench, monkeypatch):
    splits, plain = set(), type(bench.tasks).batches

    def batches(self, task, split):
        splits.add(split)
        return plain(self, task, split)

    monkeypatch.setattr(type(bench.tasks), "batches", batches)
    mixed(bench, weigh(tiny.stream(bench), bench, bands=2), "sum")
    assert splits == {"validation"}


def test_what_cannot_be_is_named(bench):
    stream = tiny.stream(bench)
    with pytest.raises(TadropError, match="bands is 0"):
        weigh(stream, bench, bands=0)
    message = "fuse is 'max'; it must be one of mean, disjoint, sum"
    with pytest.raises(TadropError, match=message):
        mixed(bench, stream, "max")
