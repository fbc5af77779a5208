"""NPS-Pruning: the search, the bands, the mixes, and that nothing but validation data is looked at."""

import math
from itertools import pairwise

import pytest
import torch

from baselines import nps, search
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.sparsify.cut_stream import Sparse
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.tadrop import TADrop
from tadrop.types import TadropError, Vector
from tests import golden, tiny

# --- the search


def hill(point):
    """1 at (2, 0.5, -1), and less everywhere else."""
    return 1 - sum((x - top) ** 2 for x, top in zip(point, (2, 0.5, -1), strict=True))


def test_the_search_climbs():
    found = search.maximise(hill, [1.0] * 3, 0.3, 400, seed=0)
    assert found.point == pytest.approx((2, 0.5, -1), abs=0.02)
    assert found.value == hill(found.point)


@pytest.mark.parametrize("budget", [1, 7, 8, 50])
def test_the_budget_is_kept_and_counted(budget):
    tried = []
    found = search.maximise(
        lambda point: tried.append(tuple(point)) or hill(point),
        [1.0] * 3,
        0.3,
        budget,
        seed=0,
    )
    assert len(tried) == found.evaluations <= budget
    assert tried[0] == (1, 1, 1)
    assert found.value == max(map(hill, tried))
    assert found.point in tried


def test_what_no_point_improves_stays_where_it_was():
    found = search.maximise(lambda point: 0.5, [1.0, 1.0], 0.3, 50, seed=0)
    assert found.point == (1, 1)


def test_points_stay_above_the_bound():
    tried = []
    search.maximise(
        lambda point: tried.append(min(point)) or -sum(point),
        [0.1] * 3,
        0.5,
        60,
        seed=0,
        lowest=0.0,
    )
    assert min(tried) >= 0


def test_the_seed_decides():
    one, same, other = (
        search.maximise(hill, [1.0] * 3, 0.3, 40, seed)
        for seed in (2**63 + 1, 2**63 + 1, 5)
    )
    assert one == same
    assert one.point != other.point


# --- bands


def test_bands_by_hand():
    tau = golden.TAUS["t1"][
        "A"
    ]  # magnitudes 0, 0.25, 0.5, 1, 1, 2, 3, 4: the two ones share the third band
    ends = nps.edges(Vector.of(tau), 4)
    assert ends.tolist() == [0.5, 1, 3]
    expected = torch.tensor([[4000.0, -100, 5, 0], [-200, 3000, 0.25, 100]])
    assert torch.equal(
        nps.weighed(tau, ends, torch.tensor([1.0, 10, 100, 1000])), expected
    )


def test_bands_have_equal_counts_and_add_up():
    tau = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    ends = nps.edges(Vector.of(tau), 7)
    bands = [nps.weighed(tau, ends, torch.eye(7)[m]) for m in range(7)]
    assert {int(band.count_nonzero()) for band in bands} == {
        math.floor(1000 / 7),
        math.ceil(1000 / 7),
    }
    assert torch.equal(sum(bands), tau)
    for lower, upper in pairwise(bands):
        assert lower.abs().max() < upper.abs()[upper != 0].min()


def test_one_band_is_a_factor():
    tau = torch.randn(50)
    assert torch.equal(
        nps.weighed(tau, nps.edges(Vector.of(tau), 1), torch.tensor([0.5])), 0.5 * tau
    )


def weighed_stream(stream, weights=((1.0, 0.1, 2.0),)):
    ends = [nps.edges(stream.vector(t, None), 3) for t in range(len(stream.tasks))]
    return nps.Weighed(
        stream,
        ends,
        [torch.tensor(weights[t % len(weights)]) for t in range(len(ends))],
        {},
    )


def by_hand(stream, task):
    """A task's weighed vector by sorting: thirds of the whole model by magnitude, times 1, 0.1 and
    2.
    """
    flat = torch.cat([stream.taus(name)[task].reshape(-1) for name in stream.names])
    order, third = flat.abs().argsort(stable=True), len(flat) / 3
    band = torch.empty(len(flat), dtype=torch.long)
    band[order] = (torch.arange(len(flat)) / third).long()
    return flat * torch.tensor([1.0, 0.1, 2.0])[band]


def test_a_weighed_stream_is_the_vectors_weighed(tmp_path):
    bench = tiny.bench(tmp_path)
    stream = tiny.stream(bench)
    weighed = weighed_stream(stream)
    for task in range(3):
        expected = by_hand(stream, task)
        assert torch.equal(
            torch.cat([weighed.taus(name)[task].reshape(-1) for name in weighed.names]),
            expected,
        )
        assert torch.equal(
            torch.cat(list(weighed.vector(task, None).pieces())), expected
        )
        assert torch.equal(
            torch.cat(list(weighed.vector(task, "norm.bias").pieces())),
            weighed.taus("norm.bias")[task],
        )
    whole = weighed.taus("first.weight").reshape(3, -1)
    assert torch.equal(whole[:, 5:17], weighed.taus("first.weight", 5, 17))


@pytest.mark.parametrize(
    "rule", [TADrop(0.3, 0.9), Magnitude(0.3, scope="model")], ids=["tadrop", "top"]
)
def test_a_weighed_stream_is_cut_after_it_is_weighed(rule):
    stream = golden.stream_of(
        {"t": {"A": tiny.normal(4, 20, words="A"), "b": tiny.normal(19, words="b")}}
    )
    sparse = Sparse(weighed_stream(stream), rule)
    matrix, bias = by_hand(stream, 0).split([80, 19])
    expected = Sparse(
        golden.stream_of({"t": {"A": matrix.view(4, 20), "b": bias}}), rule
    )
    for name in stream.names:
        assert torch.equal(sparse.taus(name), expected.taus(name))
    assert 0 < int((sparse.taus("A") != 0).sum()) < 80


# --- the row's two stages

KNOBS = {"split": "validation", "seed": 0, "evaluations": 41, "sigma": 0.5}


@pytest.fixture
def bench(tmp_path):
    return tiny.bench(tmp_path, sizes={"train": 20, "validation": 60, "test": 24})


def accuracy(bench, weights, task):
    """By the definition, on validation data."""
    bench.load(weights)
    bench.equip(task)
    inputs = bench.tasks.inputs(task, "validation")
    with torch.inference_mode():
        return float(
            (bench.module(inputs).argmax(1) == (inputs.sum(1) > 0)).double().mean()
        )


def test_weights_are_those_that_suit_each_task_alone(bench):
    stream, steps = tiny.stream(bench), []
    weighed = nps.weigh(stream, bench, lambda: steps.append(1), bands=4, **KNOBS)
    assert set(weighed.found["bands"]) == set(stream.tasks)
    for task, found in weighed.found["bands"].items():
        at = stream.tasks.index(task)
        weights = [
            (name, bench.theta0(name) + weighed.taus(name)[at]) for name in stream.names
        ]
        assert accuracy(bench, weights, task) == found["value"]
        assert found["value"] >= accuracy(bench, bench.expert(task, stream.names), task)
        torch.testing.assert_close(weighed.weights[at], torch.tensor(found["point"]))
    assert len(steps) == sum(
        found["evaluations"] for found in weighed.found["bands"].values()
    )
    assert any(
        found["point"] != (1.0,) * 4 for found in weighed.found["bands"].values()
    )


def test_another_tasks_presence_changes_no_weights(bench):
    three = nps.weigh(tiny.stream(bench), bench, lambda: None, bands=4, **KNOBS)
    whole = tiny.stream(bench)
    alone = type(whole)(
        whole.base,
        {"t1": whole.experts["t1"]},
        whole.private,
        whole.device,
        whole.matrix_layouts,
    )
    one = nps.weigh(alone, bench, lambda: None, bands=4, **KNOBS)
    assert one.found["bands"]["t1"] == three.found["bands"]["t1"]


def mixed(bench, stream, fuse, scale=1.0, **knobs):
    merged = merge(stream, Method(lambda taus: taus.mean(0, keepdim=True)))
    return nps.mix(
        merged,
        stream,
        bench,
        scale,
        lambda: None,
        fuse=fuse,
        **(KNOBS | {"start": 1.0} | knobs),
    )


@pytest.mark.parametrize("fuse", ["mean", "disjoint", "sum"])
def test_mixes_are_their_formulas(bench, fuse):
    stream = Sparse(tiny.stream(bench), Magnitude(0.3, scope="model"))
    merged = mixed(bench, stream, fuse, scale=0.5, start=0.7)
    lambdas = torch.tensor(list(merged.found["lambdas"]["point"].values())).double()
    for name in stream.names:
        taus = stream.taus(name).double()
        top = torch.einsum("t,t...->...", lambdas, taus)
        kept = torch.einsum("t,t...->...", lambdas, (taus != 0).double())
        expected = {
            "mean": top / lambdas.sum(),
            "disjoint": torch.where(kept > 0, top / kept, 0),
            "sum": top,
        }[fuse]
        torch.testing.assert_close(
            merged.delta("t0", name).double(), expected, atol=1e-6, rtol=1e-5
        )
    weights = [
        (name, bench.theta0(name) + 0.5 * merged.delta("t0", name))
        for name in stream.names
    ]
    mean = sum(accuracy(bench, weights, task) for task in stream.tasks) / 3
    assert merged.found["lambdas"]["value"] == pytest.approx(mean)
    assert merged.is_shared


def test_a_search_of_one_point_is_the_plain_method(bench):
    stream = tiny.stream(bench)
    for fuse, start, expected in (
        ("mean", 1.0, lambda t: t.mean(0)),
        ("sum", 0.3, lambda t: 0.3 * t.sum(0)),
    ):
        merged = mixed(bench, stream, fuse, start=start, evaluations=1)
        for name in stream.names:
            torch.testing.assert_close(
                merged.delta("t0", name), expected(stream.taus(name))
            )


def test_the_mix_is_no_worse_than_where_it_began(bench):
    stream = tiny.stream(bench)
    begun, ended = (
        mixed(bench, stream, "sum", evaluations=n).found["lambdas"]["value"]
        for n in (1, 60)
    )
    assert ended > begun


def test_all_lambdas_zero_is_the_base(bench):
    taus = torch.randn(3, 5)
    for fuse in nps.FUSE.values():
        assert not fuse(taus, torch.zeros(3)).any()


def test_only_the_named_split_is_read(bench, monkeypatch):
    read, plain = set(), type(bench.tasks).batches
    monkeypatch.setattr(
        type(bench.tasks),
        "batches",
        lambda self, t, split: read.add(split) or plain(self, t, split),
    )
    stream = tiny.stream(bench)
    mixed(bench, nps.weigh(stream, bench, lambda: None, bands=2, **KNOBS), "sum")
    assert read == {"validation"}


def test_what_cannot_be_is_named(bench):
    stream = tiny.stream(bench)
    with pytest.raises(TadropError, match="bands is 0"):
        nps.weigh(stream, bench, lambda: None, bands=0, **KNOBS)
    with pytest.raises(
        TadropError, match="fuse is 'max'; it must be one of mean, disjoint, sum"
    ):
        mixed(bench, stream, "max")
