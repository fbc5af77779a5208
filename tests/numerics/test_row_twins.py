"""Cuts by matrix rows and the formulas beside them: both paths, and slow references."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines import breadcrumbs, della
from tadrop.numerics import compiled
from tadrop.sparsify.draws import draws, ranks
from tadrop.sparsify.magprune import RankCut
from tadrop.sparsify.row_magnitude import RowCut

SEED = ("magprune", 0, "task", "tensor")
ORDER = 2**63 + 12345  # the state of words has 64 bits without a sign
KINDS = ("normal", "float16", "bfloat16", "denormal", "few", "zeros", "mostly_zeros")


def entries(kind, shape, seed=0):
    """Task vectors with few or many equals and zeros of both signs."""
    maker = torch.Generator().manual_seed(seed)
    drawn = torch.randn(shape, generator=maker)
    if kind in ("float16", "bfloat16"):
        return drawn.to(getattr(torch, kind)).float()
    if kind == "denormal":
        return drawn * 1e-42
    if kind == "few":
        return drawn.round()
    if kind == "normal":
        return drawn
    least = 0.7 if kind == "zeros" else 2.5
    zeros = torch.where(drawn > 0, 0.0, -0.0)
    return torch.where(drawn.abs() >= least, drawn, zeros)


def both(function):
    """What a function makes with the kernels, and without them."""
    results = []
    for least in (1, 1 << 60):
        with patch.object(compiled, "FROM", least):
            results.append(function())
    return results


def check_same_bits(results):
    fast, plain = results
    assert fast.shape == plain.shape
    assert torch.equal(fast.view(torch.int32), plain.view(torch.int32))


kinds = st.sampled_from(KINDS)
orders = st.sampled_from([None, 0, ORDER])
rows = st.integers(0, 6)
columns = st.sampled_from([1, 2, 3, 7, 48, 49, 77, 200])


@settings(max_examples=150, deadline=None)
@given(kinds, rows, columns, orders, st.integers(0, 5), st.integers(0, 99))
def test_ranks_of_rows_have_the_same_bits(kind, number, row, order, first, seed):
    cut = RankCut(SEED, row, 0.6, 0.3, order)
    tau = entries(kind, (number, row), seed)
    check_same_bits(both(lambda: cut.apply(tau, first * row)))


@settings(max_examples=150, deadline=None)
@given(kinds, rows, columns, orders, st.floats(0, 1.2), st.integers(0, 99))
def test_the_largest_of_rows_have_the_same_bits(kind, number, row, order, share, seed):
    tau = entries(kind, (number, row), seed)
    cut = RowCut(row, int(share * row), tau.numel(), order)
    check_same_bits(both(lambda: cut.apply(tau, 3 * row)))


@settings(max_examples=100, deadline=None)
@given(
    kinds,
    st.sampled_from([1, 2, 8]),
    st.sampled_from([(), (40,), (5, 60), (0, 60), (3, 2, 33)]),
    st.sampled_from(["row", "tensor"]),
    st.sampled_from([0.0, 0.006, 0.1, 0.9, 1.0]),
)
def test_breadcrumbs_without_outliers_has_the_same_bits(kind, tasks, shape, by, share):
    taus = entries(kind, (tasks, *shape))
    fast, tally = breadcrumbs.fused(taus, share, by)
    assert tally is None
    check_same_bits([fast, breadcrumbs.merge(taus, share, by)])


@pytest.mark.parametrize("tasks", [1, 2, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_della_elects_and_fuses_with_the_same_bits(kind, tasks):
    taus = entries(kind, (tasks, 3, 5001))
    if tasks > 1:
        taus[1, 0] = -taus[0, 0]  # sums of 0, which count as positive
    fast, tally = della.fused(taus)
    assert tally is None
    check_same_bits([fast, della.merge(taus)])


def test_a_cut_in_place_is_the_cut():
    tau = entries("bfloat16", (40, 77))
    with patch.object(compiled, "FROM", 1):
        for cut in (RankCut(SEED, 77, 0.6, 0.3, 5), RowCut(77, 20, 40 * 77, 5)):
            copy = tau.clone()
            expected = cut.apply(tau, 154)
            assert cut.apply_(copy, 154) is copy
            assert torch.equal(copy, expected)
            assert torch.equal(tau, entries("bfloat16", (40, 77)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("least", [1, 1 << 60], ids=["compiled", "plain"])
def test_ranks_against_a_loop(kind, least, monkeypatch):
    """A slow, obvious MagPrune: a stable sort by magnitude, then by word."""
    monkeypatch.setattr(compiled, "FROM", least)
    number, row, start = 5, 90, 3 * 90
    tau = entries(kind, (number, row))
    kept = RankCut(SEED, row, 0.6, 0.3, ORDER).apply(tau, start)
    index = start + torch.arange(number * row)
    words = ranks(ORDER, index).view(number, row).numpy()
    drawn = draws(SEED, start, number * row).view(number, row).tolist()
    for i, values in enumerate(tau.numpy()):
        order = np.lexsort((words[i], np.abs(values)))
        for rank, column in enumerate(order.tolist()):
            q = 0.45 + 0.3 * rank / (row - 1)
            stays = drawn[i][column] < q * 2**32 and values[column] != 0
            expected = values[column] / np.float32(q) if stays else 0.0
            assert float(kept[i, column]) == expected
