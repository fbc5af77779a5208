"""Entries as large as a cut's threshold: which of them stay, and how they are found."""

import numpy as np
import pytest
import torch

from tadrop.numerics import compiled
from tadrop.numerics.seeds import key
from tadrop.sparsify import draws
from tadrop.sparsify.controls import inverted, shuffled, uniform
from tadrop.sparsify.cut_stream import Sparse, all_cuts
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.magprune import MagPrune
from tadrop.sparsify.row_magnitude import RowMagnitude
from tadrop.sparsify.tadrop import TADrop
from tadrop.types import ALL, TadropError, Vector
from tests.golden import stream_of

SIZE = 64_000
DEALS = {"uniform": uniform.deal, "inverted": inverted.deal, "shuffled": shuffled.deal}


def coarse(size=SIZE, seed=0):
    """A task vector of bfloat16 checkpoints: few magnitudes, each of many entries."""
    generator = torch.Generator().manual_seed(seed)
    base = 0.02 * torch.randn(size, generator=generator)
    tuned = base + 1e-4 * torch.randn(size, generator=generator)
    return tuned.bfloat16().float() - base.bfloat16().float()


def check_no_bias(kept):
    """Of every quarter of the entries as many are kept, but for chance."""
    quarters = kept.double().view(4, -1).mean(1)
    deviation = 0.5 / (kept.numel() / 4) ** 0.5
    assert (quarters - quarters.mean()).abs().max() < 4 * deviation


@pytest.mark.parametrize("name", ["adaptive", *DEALS])
def test_controls_of_tadrop_favour_no_part_of_a_tensor(name):
    taus = {"t": {"a": coarse(), "b": coarse(seed=1)[: SIZE // 2]}}
    stream = Sparse(stream_of(taus), TADrop(0.8, 0.9))
    cuts = all_cuts(stream)
    if name in DEALS:
        rule = TADrop(0.8, 0.9, assign=name, deal=DEALS[name])
        dealt = rule.stand_in(cuts)
        cuts = all_cuts(Sparse(stream_of(taus), dealt))
    cut = cuts["t", "a"]
    kept = cut.keeps(taus["t"]["a"])
    assert int(kept.sum()) == cut.kept
    assert cut.limit < ALL
    check_no_bias(kept)


@pytest.mark.parametrize("is_compiled", [True, False], ids=["compiled", "plain"])
@pytest.mark.parametrize("scope", ["tensor", "layer", "model"])
def test_a_cut_over_tensors_is_the_same_wherever_a_tensor_begins(
    scope, is_compiled, monkeypatch
):
    """Words are of an entry's place in what its cut covers, not in its tensor."""
    monkeypatch.setattr(compiled, "FROM", 1 if is_compiled else 1 << 60)
    parts = coarse(30_000).split([7001, 11_003, 11_996])
    names = ("blocks.0.a", "blocks.0.b", "blocks.1.a")
    taus = {"t": dict(zip(names, parts, strict=True))}
    stream = Sparse(stream_of(taus), Magnitude(0.3, scope=scope))
    kept = []
    for name in names:
        cut, start = stream.cut(0, name)
        tau = taus["t"][name]
        kept.append(cut.keeps(tau, start))
        expected = torch.where(kept[-1], tau, 0)
        assert torch.equal(stream.taus(name)[0], expected)
        assert torch.equal(stream.taus(name, 1000, 2000)[0], expected[1000:2000])
        assert torch.equal(torch.cat(list(stream.vector(0, name).pieces())), expected)
    numbers = {cut.kept for cut in all_cuts(stream).values()}
    total = sum(cut.kept for cut in all_cuts(stream).values())
    assert int(torch.cat(kept).sum()) == total
    assert len(numbers) == len(all_cuts(stream))


@pytest.mark.parametrize("count", [1, 2, 1000, 50_000])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_nth_word_is_found_without_holding_all(count, share, monkeypatch):
    seed, index = key("equals", "t", "n"), torch.arange(count) * 3 + 5
    nth = max(round(share * count), 1)
    words = draws.ranks(seed, index)
    expected = int(words.sort().values[nth - 1]) + 2**63
    held = []

    def places():
        return (part.numpy() for part in index.split(777))

    found = draws._words_in
    monkeypatch.setattr(draws, "SORTED", 10)

    def watched(*given):
        below, near = found(*given)
        held.append(len(near))
        return below, near

    monkeypatch.setattr(draws, "_words_in", watched)
    assert draws.nth_word(seed, places, count, nth) == expected
    assert max(held) <= 16 * count**0.5
    assert held[-1] > 0


def test_a_range_that_misses_the_nth_word_is_widened(monkeypatch):
    seed, index = key("equals", "t", "n"), np.arange(1000)
    words = draws.ranks(seed, torch.from_numpy(index)).sort().values
    monkeypatch.setattr(draws, "SORTED", 10)
    monkeypatch.setattr(draws, "sqrt", lambda count: 1e9)  # far too narrow
    for nth in (1, 300, 1000):
        expected = int(words[nth - 1]) + 2**63
        assert draws.nth_word(seed, lambda: [index], 1000, nth) == expected


def test_all_equal_entries_of_a_large_vector_are_cut_to_the_count():
    tau = torch.full((3_000_000,), 0.25)
    kept = Magnitude(0.25).plan(Vector.of(tau)).keeps(tau)
    assert int(kept.sum()) == 750_000
    check_no_bias(kept)


def by_rows(rule, tau):
    """What a rule's cut makes of a matrix, shown whole and in pieces of whole rows."""
    cut = rule.plan(Vector.of(tau, "t", "n"))
    whole = cut.apply(tau)
    parts = []
    for start in range(0, len(tau), 7):
        parts.append(cut.apply(tau[start : start + 7], start * tau.shape[1]))
    assert torch.equal(torch.cat(parts), whole)
    return whole


def test_rows_keep_an_exact_count_and_favour_no_column():
    tau = coarse().view(200, 320)
    kept = by_rows(RowMagnitude(0.3), tau) != 0
    assert ((tau != 0).sum(1) >= 96).all()
    assert (kept.sum(1) == 96).all()
    threshold = torch.where(kept, tau.abs(), torch.inf).amin(1, keepdim=True)
    assert kept[tau.abs() > threshold].all()
    assert not kept[tau.abs() < threshold].any()
    assert (~kept & (tau.abs() == threshold)).any()
    check_no_bias(kept.T.reshape(-1))


def test_rows_can_keep_the_first_of_equals():
    tau = torch.tensor([[1.0, 2, 1, 1, 1, 2]])
    kept = RowMagnitude(0.5, equals="index").plan(Vector.of(tau)).apply(tau)
    assert kept.tolist() == [[1, 2, 0, 0, 0, 2]]
    cut = MagPrune(0.5, 0.4, seed=0, equals="index").plan(Vector.of(tau))
    ranks = torch.tensor([0, 4, 1, 2, 3, 5]).double()
    torch.testing.assert_close(cut.probabilities(tau)[0], 0.3 + 0.08 * ranks)
    for rule in (RowMagnitude, lambda *a, **w: MagPrune(*a, 0.1, seed=0, **w)):
        with pytest.raises(TadropError, match="drawn or index"):
            rule(0.5, equals="all")


def test_rows_without_equals_keep_their_largest():
    tau = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    kept = by_rows(RowMagnitude(0.25), tau) != 0
    expected = torch.zeros_like(kept).scatter(1, tau.abs().topk(10).indices, True)
    assert torch.equal(kept, expected)


def test_equal_entries_of_a_row_are_ranked_without_a_bias_for_their_column():
    cut = MagPrune(0.5, 0.9, seed=0).plan(Vector.of(torch.ones(400, 100), "t", "n"))
    q = cut.probabilities(torch.ones(400, 100))
    assert torch.equal(q.sort(1).values[0], q.sort(1).values[399])
    halves = q.mean(0).view(2, 50).mean(1)
    assert (halves - 0.5).abs().max() < 4 * 0.26 / (400 * 50) ** 0.5
    assert torch.equal(cut.probabilities(torch.ones(3, 100), 500), q[5:8])
    tau = coarse().view(640, 100)
    q = cut.probabilities(tau)
    larger = tau.abs()[:, :, None] > tau.abs()[:, None]
    assert (q[:, :, None] > q[:, None])[:20][larger[:20]].all()
