"""Blocks, threads and the bound on memory."""

import threading
import time

import pytest
import torch

from baselines import emr, task_arithmetic, ties
from tadrop.merging.engine import merge, merge_into
from tadrop.merging.method import Method
from tadrop.numerics.threads import in_order
from tadrop.sparsify.cut_stream import Sparse, all_cuts
from tadrop.sparsify.dare import Dare
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.tadrop import TADrop
from tadrop.types import TadropError
from tadrop.vectors import passes
from tadrop.vectors.passes import add_up, density, over_pieces
from tests.golden import golden, stream_of


def test_results_come_in_order_whatever_finishes_first():
    def slow(i):
        time.sleep(0.01 * (i % 3 == 0))
        return i

    assert list(in_order(slow, range(40), 3)) == list(range(40))
    assert list(in_order(slow, range(5), 1)) == list(range(5))


def test_a_failure_cancels_the_rest_and_is_raised():
    started = []

    def fails(i):
        started.append(i)
        if i == 2:
            raise TadropError("no")
        return i

    with pytest.raises(TadropError, match="no"):
        list(in_order(fails, range(1000), 2))
    assert len(started) < 100
    assert not [t for t in threading.enumerate() if t.name.startswith("tadrop")]


def test_the_number_of_threads_is_put_back():
    before = torch.get_num_threads()
    seen = list(in_order(lambda i: torch.get_num_threads(), range(8), 2))
    assert set(seen) == {1}
    assert torch.get_num_threads() == before


def random_stream(tasks=5, sizes=(1000, 37, 1)):
    generator = torch.Generator().manual_seed(0)
    shapes = {f"w{i}": (n,) for i, n in enumerate(sizes)} | {
        "scalar": (),
        "matrix": (30, 7),
    }
    return stream_of(
        {
            f"t{t}": {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
            for t in range(tasks)
        }
    )


@pytest.mark.parametrize("most", [64, 700, 1 << 20])
def test_blocks_cover_every_entry_once(most, monkeypatch):
    monkeypatch.setattr(passes, "PIECE", most)
    monkeypatch.setattr(passes, "SPAN", 900)
    stream = random_stream()
    covered = {name: [] for name in stream.names}
    for name, runs in over_pieces(
        stream, lambda name, start, taus: (start, taus.shape[1])
    ):
        for start, count in runs:
            assert start % 8 == 0
            covered[name] += range(start, start + count)
    for name, entries in covered.items():
        assert entries == list(range(stream.taus(name).reshape(5, -1).shape[1]))


def test_add_up_is_a_sum_over_the_model(monkeypatch):
    monkeypatch.setattr(passes, "PIECE", 700)
    stream = random_stream()
    everything = torch.cat([stream.taus(n).reshape(5, -1) for n in stream.names], dim=1)
    found = add_up(stream, lambda taus: (taus > 0).sum(1))
    assert torch.equal(found, (everything > 0).sum(1))


@pytest.mark.parametrize("most", [64, 1 << 20])
@pytest.mark.parametrize(
    "rule",
    [
        None,
        TADrop(0.5, 0.9, "l1"),
        TADrop(0.5, 0.9, "l2", scope="model"),
        Dare(0.4, 1),
        Magnitude(0.3, scope="model"),
    ],
)
@pytest.mark.parametrize(
    "method",
    [
        Method(task_arithmetic.merge),
        Method(ties.merge, survey=ties.survey),
        Method(emr.merge),
    ],
)
def test_small_blocks_and_many_threads_change_no_bit(most, rule, method, monkeypatch):
    def run():
        stream = random_stream()
        return merge(stream if rule is None else Sparse(stream, rule), method)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = run()
    monkeypatch.setattr(passes, "PIECE", most)
    monkeypatch.setattr(passes, "SPAN", 500)
    torch.set_num_threads(3)
    cut = run()
    torch.set_num_threads(before)
    for name, delta in whole.deltas.items():
        assert torch.equal(
            delta.view(torch.int32), cut.deltas[name].view(torch.int32)
        ), name
    assert all(torch.equal(mask, cut.masks[name]) for name, mask in whole.masks.items())
    assert whole.density == cut.density


def test_cuts_are_planned_in_the_order_of_names_and_tasks():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    told = []
    stream = Sparse(golden(), Magnitude(0.5), on_plan=lambda: told.append(1))
    assert list(all_cuts(stream)) == [
        (t, n) for n in ("A", "b") for t in ("t1", "t2", "t3")
    ]
    assert len(told) == 6
    all_cuts(stream)
    assert len(told) == 6
    torch.set_num_threads(before)


def test_density_counts_what_is_left():
    assert (
        density(Sparse(golden(), Magnitude(0.5, count="floor", scope="model"))) == 0.5
    )
    assert (
        merge(
            Sparse(golden(), Magnitude(0.5, count="floor")),
            Method(task_arithmetic.merge),
        ).density
        == 0.5
    )


def test_part_of_a_masked_delta(monkeypatch):
    stream = random_stream()
    merged = merge(stream, Method(emr.merge))
    for name, stop in (("w0", 999), ("matrix", 210)):
        whole = merged.delta("t2", name).reshape(-1)
        assert torch.equal(merged.delta("t2", name, 8, stop), whole[8:stop])


def test_on_tensor_hears_every_name_once():
    stream, told = random_stream(), []
    merge_into(lambda *block: None, stream, Method(task_arithmetic.merge), told.append)
    assert told == list(stream.names)


def test_a_formula_of_the_wrong_shape_is_named():
    with pytest.raises(TadropError, match="does not fit tensor 'A'"):
        merge(golden(), Method(lambda taus: taus[0]))


@pytest.mark.slow
def test_private_memory_does_not_grow_with_the_model(tmp_path):
    """800 MB of tensors, one of them 512 MB, through a process that may add a third of that."""
    from experiments.benchmarks.inputs import make
    from experiments.benchmarks.processes import measured

    inputs = make(tmp_path, {"w": (8000, 16000), "v": (6000, 12000)}, 8, 1)
    run = measured(inputs, tmp_path / "out", ["merge=emr", "tadrop=on"])
    assert run.private < 256e6
