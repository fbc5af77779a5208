"""TIES, TALL-masks and Consensus against references on the whole flattened model."""

from functools import partial

import numpy as np
import pytest
import torch

from baselines import tall, ties
from tadrop.app.runs import build
from tadrop.merging.method import Method
from tadrop.sparsify.cut_stream import Sparse
from tadrop.sparsify.magnitude import Magnitude
from tadrop.types import TadropError, Vector
from tests.baselines import authors
from tests.baselines.formulas import delta, draw, expect, table
from tests.golden import golden, stream_of


def flat_trim(x, keep):
    """TIES' trim of every row, by the k-th smallest magnitude."""
    d = x.shape[1]
    kth = np.sort(np.abs(x), axis=1)[:, d - int(d * keep) - 1]
    return np.where(np.abs(x) >= kth[:, None], x, 0)


def flat_ties(x, combine):
    """TIES of trimmed vectors [T, d]."""
    sign = np.sign(x.sum(0))
    sign[sign == 0] = np.sign(sign.sum())
    survivors = np.where(np.sign(x) == sign, x, 0)
    counts = np.maximum((survivors != 0).sum(0), 1)
    merges = {
        "sum": survivors.sum(0),
        "mean": survivors.sum(0) / counts,
        "max": np.abs(survivors).max(0) * sign,
    }
    return merges[combine]


@pytest.mark.parametrize("combine", ["mean", "sum", "max"])
def test_ties_streams(combine):
    taus = draw(zeros=0.0, A=(6, 5), c=(2, 3, 4))
    stream = Sparse(stream_of(taus), Magnitude(0.4, count="ties", scope="model"))
    method = Method(partial(ties.merge, combine=combine), survey=ties.survey)
    expected = flat_ties(flat_trim(table(taus), 0.4), combine)
    expect(delta(stream, method), expected, atol=1e-5)


def test_tall_masks():
    parts = [tall.merge(golden().taus(name)).masks.reshape(3, -1) for name in "Ab"]
    masks = torch.cat(parts, dim=1).int()
    assert masks.tolist() == [
        [1, 1, 1, 0, 1, 1, 1, 1, 1, 0],
        [0, 1, 1, 0, 1, 0, 1, 1, 1, 1],
        [1, 0, 1, 0, 1, 1, 0, 1, 1, 1],
    ]


def test_consensus():
    expected = [5, -2.5, 1, 0, 0, 5, 0.75, -1, 0, 0.3]
    expect(delta(golden(), Method(tall.consensus)), expected)


@pytest.mark.parametrize("lambdas", [0.4, [0.2, 0.6, 0.3, 0.5]])
def test_tall_masks_on_ties_compare_the_untrimmed_vectors(lambdas):
    taus = draw(seed=3, zeros=0.0)
    x = table(taus)
    multi = flat_ties(flat_trim(x, 0.2), "sum")
    masks = np.abs(x) > np.reshape(lambdas, (-1, 1)) * np.abs(multi - x)
    stream = Sparse(stream_of(taus), Magnitude(0.2, count="ties", scope="model"))
    words = {"survey": ties.survey, "needs": ["uncut"]}
    for t, task in enumerate(taus):
        masked = Method(partial(tall.merge_ties, lambdas=lambdas), **words)
        expect(delta(stream, masked, task), multi * masks[t], atol=1e-5)
    merge = partial(tall.consensus_ties, lambdas=lambdas, threshold=3)
    agreed = masks.sum(0) >= 3
    expect(delta(stream, Method(merge, **words)), multi * agreed, atol=1e-5)


def test_tall_refuses_a_list_of_the_wrong_length():
    with pytest.raises(TadropError, match="2 values for 3 tasks"):
        tall.merge(golden().taus("A"), lambdas=[0.2, 0.3])


@pytest.mark.parametrize(("fallback", "expected"), [(1.0, 2.0), (-1.0, -2.0)])
def test_survivors_that_cancel_take_the_fallback_sign(fallback, expected):
    """mergekit's is +, as the row ties_tensor says; the authors' is the majority's."""
    taus = torch.tensor([[2.0, 1.0], [-2.0, 3.0]])
    assert ties.merge(taus, fallback).tolist() == [[expected, 2.0]]
    row = authors.config("ties_tensor").merge.method
    assert row.merge.survey == 1.0
    assert "survey" not in row


TIED = ("ties", "ties_sum", "ties_max", "consensus_ties", "tall_mask_ties")


@pytest.mark.parametrize("row", [*TIED, "adamerging_plus", "adamerging_task_plus"])
def test_a_row_on_ties_keeps_what_is_as_large_as_the_kth_value(row):
    """Coarse magnitudes, as 16-bit checkpoints have: more than a fifth is kept."""
    cfg = authors.config(row)
    tau = torch.arange(100).remainder(4).float()
    cut = build.rule(cfg.sparsify).plan(Vector.of(tau, name="model"))
    assert cut.facts().kept == 25
    assert torch.equal(cut.apply(tau), torch.where(tau == 3, tau, 0))
    exact = build.rule({**cfg.sparsify, "count": "ties"}).plan(Vector.of(tau))
    assert exact.facts().kept == 21
