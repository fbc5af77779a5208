"""Order statistics, norms and cuts against sorting and numpy, on values that trip up selection."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tadrop import tadrop_
from tadrop.app import library as api
from tadrop.numerics import compiled, counted, histogram, quantile
from tadrop.numerics.quantile import spectrum
from tadrop.numerics.seeds import key
from tadrop.sparsify.draws import draws, ranks
from tadrop.sparsify.random_cut import RandomCut
from tadrop.sparsify.tadrop import TADrop
from tadrop.sparsify.top_cut import TopCut, top
from tadrop.types import ALL, TadropError, Vector

GENERATOR = torch.Generator().manual_seed(0)


def normal(count):
    return torch.randn(count, generator=GENERATOR)


VALUES = {
    "normal": normal(70_001),
    "ties": torch.randint(-3, 4, (70_000,), generator=GENERATOR) * 0.25,
    "zeros": torch.zeros(66_000),
    "mostly zeros": torch.where(
        normal(70_000) > 1.5, normal(70_000), torch.tensor(0.0)
    ),
    "constant": torch.full((65_537,), -0.7),
    "subnormal": normal(66_000) * 1e-41,
    "huge": normal(66_000) * 1e37,
    "all scales": normal(70_000)
    * torch.exp2(torch.randint(-120, 100, (70_000,), generator=GENERATOR)),
    "small": normal(1000),
    "two": torch.tensor([-2.0, 1.0]),
}


def pieced(tau, length=10_000):
    return Vector(
        "task", "tensor", tuple(tau.shape), tau.numel(), lambda: iter(tau.split(length))
    )


@pytest.fixture(params=["torch", "compiled"])
def path(request, monkeypatch):
    """Both implementations: the reference in torch and the compiled kernels."""
    monkeypatch.setattr(compiled, "FROM", 0 if request.param == "compiled" else 1 << 60)
    return request.param


@pytest.fixture(params=["taken out", "counted", "sorted"])
def way(request, monkeypatch):
    """The ways to an order statistic: by bins whose entries are taken out, or counted, and by
    sorting everything.
    """
    monkeypatch.setattr(quantile, "SMALL", 1 << 60 if request.param == "sorted" else 0)
    monkeypatch.setattr(
        counted, "GATHERED", 1 << 60 if request.param == "taken out" else 0
    )
    monkeypatch.setattr(
        quantile, "HELD", 1 << 60 if request.param == "taken out" else 0
    )


@pytest.mark.usefixtures("path", "way")
@pytest.mark.parametrize("name", VALUES)
def test_order_statistics_and_norms_are_those_of_sorting(name):
    tau = VALUES[name]
    expected = np.sort(np.abs(tau.double().numpy()))
    magnitudes = spectrum(pieced(tau))
    ranks = sorted({0, 1, len(expected) // 3, len(expected) // 2, len(expected) - 1})
    for rank, found in zip(ranks, magnitudes.order_statistics(ranks), strict=True):
        assert found.value == expected[rank]
        assert found.below == (expected < expected[rank]).sum()
        assert found.equal == (expected == expected[rank]).sum()
    for kept in (None, 1, len(expected) // 3, len(expected)):
        largest = expected if kept is None else expected[len(expected) - kept :]
        np.testing.assert_allclose(magnitudes.norm(1, kept), largest.sum(), rtol=1e-13)
        np.testing.assert_allclose(
            magnitudes.norm(2, kept), np.sqrt(np.square(largest).sum()), rtol=1e-13
        )


@pytest.mark.usefixtures("path", "way")
@pytest.mark.parametrize("name", VALUES)
def test_quantiles_are_numpys(name):
    tau = VALUES[name]
    fractions = [0.0, 0.1, 0.25, 0.5, 0.8, 0.95, 0.999, 1.0]
    expected = np.quantile(np.abs(tau.double().numpy()), fractions)
    np.testing.assert_allclose(
        spectrum(pieced(tau)).quantiles(fractions), expected, rtol=1e-13
    )


@pytest.mark.usefixtures("path")
@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        min_size=1,
        max_size=60,
    )
)
def test_any_floats(values):
    tau = torch.tensor(values, dtype=torch.float32)
    expected = np.sort(np.abs(tau.double().numpy()))
    magnitudes = counted.Counted(len(values), pieced(tau, 7).pieces, table_of(tau))
    assert [
        s.value for s in magnitudes.order_statistics(list(range(len(values))))
    ] == expected.tolist()


def table_of(tau):
    return histogram.by_upper_bits(tau.split(7), tau.numel())


@pytest.mark.usefixtures("path", "way")
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_named(bad):
    tau = normal(70_000)
    tau[66_000] = bad
    with pytest.raises(TadropError, match=r"'task', 'tensor': 1 entries"):
        spectrum(pieced(tau))


@pytest.mark.usefixtures("path", "way")
@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_the_cut_keeps_exactly_the_largest_and_of_equals_those_drawn(name, share):
    tau = VALUES[name]
    count = round(share * tau.numel())
    cut = top(pieced(tau), spectrum(pieced(tau)), count)
    words = ranks(key("equals", "task", "tensor"), torch.arange(tau.numel()))
    order = np.lexsort((words.numpy(), -tau.abs().numpy()))[:count]
    expected = torch.zeros(tau.numel(), dtype=torch.bool)
    expected[order] = True
    kept = torch.cat([cut.keeps(piece, start) for start, piece in starts(tau)])
    assert torch.equal(kept & (tau != 0), expected & (tau != 0))
    assert cut.threshold == 0 or int(kept.sum()) == count
    applied = torch.cat([cut.apply(piece, start) for start, piece in starts(tau)])
    assert torch.equal(applied, torch.where(expected, tau, 0))


def starts(tau, length=10_000):
    at = 0
    for piece in tau.split(length):
        yield at, piece.contiguous()
        at += len(piece)


def both(monkeypatch, make):
    results = []
    for least in (0, 1 << 60):
        monkeypatch.setattr(compiled, "FROM", least)
        results.append(make())
    return results


@pytest.mark.parametrize("name", [n for n in VALUES if n != "two"])
@pytest.mark.parametrize("norm", ["none", "l1", "l2"])
def test_tadrop_has_the_same_bits_compiled_and_not(name, norm, monkeypatch):
    tau = VALUES[name]
    monkeypatch.setattr(quantile, "SMALL", 0)

    def make():
        cut = TADrop(0.8, 0.95, norm).plan(pieced(tau))
        return cut, torch.cat(
            [cut.apply(piece, start) for start, piece in starts(tau)]
        ).view(torch.int32)

    (cut, bits), (reference, expected) = both(monkeypatch, make)
    assert cut == reference
    assert torch.equal(bits, expected)


@pytest.mark.parametrize("gathered", [0, 1 << 60])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_a_tensor_shared_among_threads_has_the_bits_of_one(
    threads, norm, gathered, monkeypatch
):
    tau = VALUES["ties"] + VALUES["normal"][:70_000]
    expected = TADrop(0.3, 0.9, norm).plan(pieced(tau))
    monkeypatch.setattr(histogram, "SHARED", 1)
    monkeypatch.setattr(counted, "GATHERED", gathered)
    monkeypatch.setattr(api, "PIECE", 10_000)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert (
            replace(TADrop(0.3, 0.9, norm).plan(Vector.of(tau)), ratio=expected.ratio)
            == expected
        )
        assert torch.equal(tadrop_(tau.clone(), 0.3, 0.9, norm), expected.apply(tau))
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("path")
def test_one_bin_counts_more_entries_than_a_word_holds():
    tau = torch.full(((1 << 24) + 3,), -0.7)
    bits = int(np.float32(0.7).view(np.uint32))
    table = histogram.by_upper_bits([tau], len(tau))
    assert table[:, bits >> 16].tolist() == [len(tau), len(tau) * (bits & 0xFFFF)]


@pytest.mark.parametrize(("held", "passes"), [(0, 2), (1 << 20, 1)])
@pytest.mark.parametrize(
    "tadrop", [TADrop(0.3, 0.9), TADrop(0.5, 0.9, map="power", gamma=2.0)]
)
def test_tadrop_reads_a_vector_twice_and_a_small_one_once(
    tadrop, held, passes, monkeypatch
):
    tau, calls = normal(200_000).round(decimals=3), []  # with ties
    monkeypatch.setattr(quantile, "SMALL", 0)
    monkeypatch.setattr(quantile, "HELD", held)
    vector = Vector(
        "task",
        "tensor",
        tuple(tau.shape),
        tau.numel(),
        lambda: calls.append(1) or iter(tau.split(10_000)),
    )
    assert tadrop.plan(vector).limit < ALL
    assert len(calls) == passes


def test_cutting_keeps_the_signs_of_survivors_and_drops_to_plus_zero(monkeypatch):
    tau = torch.tensor([-3.0, -1.0, 0.5, -1.0, 2.0, -0.0])
    words = ranks(2, torch.tensor([1, 3]))
    first, second = words.tolist()
    assert first < second  # of the two at the threshold the first stays
    cut = TopCut(6, 3, 1.0, factor=2.0, order=2, limit=first + 2**63)
    for bits in both(monkeypatch, lambda: cut.apply(tau).view(torch.int32)):
        assert torch.equal(
            bits, torch.tensor([-6.0, -2.0, 0.0, 0.0, 4.0, 0.0]).view(torch.int32)
        )


@pytest.mark.parametrize("start", [0, 2, 4096, 123_456])
@pytest.mark.parametrize("count", [1, 2, 5000, 8191])
def test_random_cuts_have_the_same_bits_compiled_and_not(start, count, monkeypatch):
    tau, cut = (
        normal(count),
        RandomCut(("dare", 0, "task", "tensor"), 1 << 20, 0.3, 1 / 0.3),
    )
    result, expected = both(
        monkeypatch, lambda: cut.apply(tau, start).view(torch.int32)
    )
    assert torch.equal(result, expected)


def splitmix(key, index):
    """One word of the sequence in whole-number arithmetic, as its authors write it."""
    z = (key + index * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_draws_are_splitmix_and_addressed_by_index():
    from tadrop.numerics.seeds import key

    words = ("dare", 3, "t", "n")
    expected = [
        (splitmix(key(*words), i // 2) >> (32 * (i % 2))) % 2**32 for i in range(40)
    ]
    assert draws(words, 0, 40).tolist() == expected
    assert draws(words, 7, 11).tolist() == expected[7:18]


def test_splitmix_is_the_published_one():
    """The first two outputs for the seed 1234567 in the reference implementation's well-known test."""  # noqa: E501
    assert splitmix(1234567, 1) == 6457827717110365317
    assert splitmix(1234567, 2) == 3203168211198807973


def test_draws_are_uniform_and_independent_of_other_words():
    one, other = (
        draws(("dare", 0, task, "n"), 0, 200_000).double() / 2**32 for task in "ab"
    )
    assert abs(one.mean() - 0.5) < 0.003
    assert abs(((one < 0.1).double()).mean() - 0.1) < 0.003
    assert abs(torch.corrcoef(torch.stack((one, other)))[0, 1]) < 0.01
    assert abs(torch.corrcoef(torch.stack((one[:-1], one[1:])))[0, 1]) < 0.01


def test_words_of_entries_are_splitmix_and_sort_without_a_sign():
    from tadrop.sparsify.draws import words

    index = torch.arange(1000)
    expected = [splitmix(2**63 + 5, i) for i in range(1000)]
    found = words(2**63 + 5, index)
    assert [word % 2**64 for word in found.tolist()] == expected
    assert len(set(expected)) == 1000
    order = ranks(2**63 + 5, index).argsort().tolist()
    assert order == sorted(range(1000), key=expected.__getitem__)


@pytest.mark.parametrize("gathered", [0, 1 << 60])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_cut_among_equals_has_the_same_bits_in_pieces_threads_and_compiled(
    threads, gathered, monkeypatch
):
    tau = VALUES["ties"].roll(1234)
    monkeypatch.setattr(quantile, "SMALL", 0)
    monkeypatch.setattr(counted, "GATHERED", gathered)
    monkeypatch.setattr(histogram, "SHARED", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)

    def make():
        vector = pieced(tau)
        cut = top(vector, spectrum(vector), 40_000)
        parts = [cut.apply(piece, start) for start, piece in starts(tau, 777)]
        return cut, torch.cat(parts).view(torch.int32)

    try:
        (cut, bits), (reference, expected) = both(monkeypatch, make)
    finally:
        torch.set_num_threads(before)
    assert cut == reference
    assert cut.limit < ALL
    assert torch.equal(bits, expected)
    assert torch.equal(bits != 0, cut.keeps(tau) & (tau != 0))
