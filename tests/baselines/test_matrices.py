"""TSV, Iso and WUDI against numpy, and how matrices reach a formula."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines import iso, reference, tsv, wudi
from tadrop.merging.engine import merge
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import LowRank, MatrixLayout, TadropError
from tadrop.vectors.merged import Merged, materialise
from tests.baselines.formulas import MATRIX, delta, draw, expect, matrices, per_matrix
from tests.golden import TAUS, golden, stream_of


def thin(matrix):
    """numpy's thin SVD."""
    return np.linalg.svd(matrix, full_matrices=False)


def whiten(matrix):
    """The nearest orthonormal matrix."""
    left, _, right = thin(matrix)
    return left @ right


def of_matrix(taus):
    """The stream of task vectors whose tensor A is a linear layer."""
    return replace(stream_of(taus), matrix_layouts=MATRIX)


def stacked(**words):
    """The task vectors of one drawn matrix, [task, out, in]."""
    return torch.stack([tensors["A"] for tensors in draw(**words).values()])


def test_iso_c():
    matrix = delta(matrices(), per_matrix(iso.merge))[:8].view(2, 4)
    expected = [
        [4.977262, -1.392807, 1.159826, -0.219165],
        [1.095824, 4.959776, 1.045318, -1.101538],
    ]
    expect(matrix, expected, atol=2e-6)


def test_tsv_m_of_two_tasks():
    matrix = delta(matrices("t1", "t2"), per_matrix(tsv.merge))[:8].view(2, 4)
    expected = [
        [4.316783, -2.758109, 0.196123, -0.531453],
        [0.424495, 1.714249, 0.71639, -4.722957],
    ]
    expect(matrix, expected)


def test_tsv_with_fewer_directions_than_tasks_leaves_the_matrix_pretrained():
    assert not delta(matrices(), per_matrix(tsv.merge))[:8].any()
    merged = merge(matrices(), per_matrix(tsv.compress, rest=reference.individual))
    assert not merged.delta("t1", "A").any()
    assert torch.equal(merged.delta("t2", "b"), TAUS["t2"]["b"])


def test_tsv_m_against_numpy():
    taus = draw(tasks=3, zeros=0.0, A=(9, 7))
    k = 7 // 3
    factors = [thin(tensors["A"].double().numpy()) for tensors in taus.values()]
    u = np.concatenate([left[:, :k] for left, _, _ in factors], axis=1)
    s = np.concatenate([values[:k] for _, values, _ in factors])
    v = np.concatenate([right[:k].T for _, _, right in factors], axis=1)
    expected = whiten(u) * s @ whiten(v).T
    merged = delta(of_matrix(taus), per_matrix(tsv.merge))
    expect(merged, expected.ravel(), atol=1e-5)


def test_tsv_c_keeps_thin_factors_and_counts_their_bytes():
    taus = draw(tasks=3, zeros=0.0, A=(9, 7))
    method = per_matrix(tsv.compress, rest=reference.individual)
    merged = merge(of_matrix(taus), method)
    u, s, vt = thin(taus["t1"]["A"].double().numpy())
    expect(merged.delta("t1", "A"), u[:, :2] * s[:2] @ vt[:2], atol=1e-5)
    assert merged.stored_bytes() == 4 * 3 * 2 * (9 + 7)
    assert not merged.is_shared


def test_iso_cts_against_numpy():
    taus = draw(tasks=2, zeros=0.0, A=(12, 10))
    matrices = [tensors["A"].double().numpy() for tensors in taus.values()]
    r, common = 10, 8
    per_task = round((r - common) / 2)
    shared = r - 2 * per_task
    u, s, vt = thin(sum(matrices))
    u, s, vt = u[:, :shared], s[:shared], vt[:shared]
    own = [thin(matrix - u @ u.T @ matrix) for matrix in matrices]
    lefts = np.concatenate([left[:, :per_task] for left, _, _ in own] + [u], axis=1)
    values = np.concatenate([values[:per_task] for _, values, _ in own] + [s])
    rights = np.concatenate([right[:per_task] for _, _, right in own] + [vt])
    expected = values.mean() * whiten(lefts) @ whiten(rights)
    merged = delta(of_matrix(taus), per_matrix(iso.merge_cts))
    expect(merged, expected.ravel(), atol=1e-5)


def test_iso_cts_with_nothing_left_for_the_tasks_is_iso_c():
    stream = of_matrix(draw(tasks=5, zeros=0.0, A=(6, 9)))
    by_cts = delta(stream, per_matrix(iso.merge_cts))
    expect(by_cts, delta(stream, per_matrix(iso.merge)), atol=1e-5)


def test_iso_cts_never_takes_more_directions_than_there_are():
    """Three directions for two tasks would round to two each.

    There is one direction of the sum's, and one of each task's.
    """
    taus = stacked(tasks=2, zeros=0.0, A=(3, 5))
    values = torch.linalg.svdvals(iso.merge_cts(taus, common=0.0)[0])
    expect(values, values.mean().expand(3), atol=1e-5)
    left, shared, _ = torch.linalg.svd(taus.double().sum(0))
    outside = taus.double() - left[:, :1] @ left[:, :1].mT @ taus.double()
    own = torch.linalg.svdvals(outside)[:, 0]
    expect(values.mean(), (shared[0] + own.sum()) / 3, atol=1e-5)
    with pytest.raises(TadropError, match="common"):
        iso.merge_cts(taus, common=80.0)


def disturbance(merged, taus):
    """WUDI's objective as the authors write it."""
    total = 0.0
    for tau in taus:
        product = (merged - tau) @ tau.T
        total = total + product.square().sum() / tau.square().sum()
    return total


def test_wudi_is_the_authors_loop():
    taus = stacked(tasks=3, zeros=0.0, A=(5, 8))
    free = taus.sum(0).requires_grad_()
    optimiser = torch.optim.Adam([free], lr=1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        disturbance(free, taus).backward()
        optimiser.step()
    expect(wudi.merge(taus, steps=40, rate=1e-2)[0], free.detach(), atol=1e-4)


def test_wudi_exact_is_the_minimum():
    taus = stacked(tasks=3, zeros=0.0, A=(5, 8)).double()
    best = wudi.solve(taus)[0].requires_grad_()
    disturbance(best, taus).backward()
    assert best.grad.abs().max() < 1e-9
    adam = wudi.merge(taus.float(), steps=300, rate=1e-5)[0].double()
    assert disturbance(best, taus) < disturbance(adam, taus)


def test_wudi_with_a_task_that_was_dropped_entirely():
    taus = torch.cat([torch.zeros(1, 4, 3), stacked(tasks=2, A=(4, 3))])
    for function in (partial(wudi.merge, steps=5), wudi.solve):
        expect(function(taus), function(taus[1:]), atol=1e-5)
        assert not function(taus[:1]).any()


def test_transposed_and_fused_matrices_reach_the_formula_upright():
    """WUDI is not the same on a transposed matrix, nor on a fused one.

    The matrix layout decides what it is shown.
    """
    taus = draw(tasks=3, zeros=0.0, A=(6, 4))
    turned = {}
    for task, tensors in taus.items():
        turned[task] = {"A": tensors["A"].T.contiguous()}
    lying = {"A": MatrixLayout("linear", transposed=True)}
    upright = delta(of_matrix(taus), per_matrix(wudi.solve)).view(6, 4)
    stored = replace(stream_of(turned), matrix_layouts=lying)
    expect(delta(stored, per_matrix(wudi.solve)).view(4, 6).T, upright)
    fused = replace(
        stream_of(taus), matrix_layouts={"A": MatrixLayout("linear", blocks=3)}
    )
    expect(delta(fused, per_matrix(wudi.solve)).view(6, 4), upright)
    matrices = fused.taus("A").split(2, dim=1)
    parts = torch.cat([wudi.solve(matrix)[0] for matrix in matrices])
    expect(delta(fused, per_matrix(wudi.solve, fused="split")).view(6, 4), parts)
    assert not torch.allclose(parts, upright, atol=1e-3)


def test_thin_factors_of_a_transposed_matrix():
    taus = draw(tasks=2, zeros=0.0, A=(6, 4))
    stream = replace(
        stream_of(taus), matrix_layouts={"A": MatrixLayout("linear", transposed=True)}
    )
    words = {"rest": reference.individual}
    merged = merge(stream, per_matrix(tsv.compress, **words))
    assert isinstance(merged.low_rank["A"], LowRank)
    u, s, vt = thin(taus["t1"]["A"].double().numpy())
    expect(merged.delta("t1", "A"), u[:, :2] * s[:2] @ vt[:2], atol=1e-5)
    fused = replace(
        stream_of(taus), matrix_layouts={"A": MatrixLayout("linear", blocks=2)}
    )
    with pytest.raises(TadropError, match="fused=whole"):
        merge(fused, per_matrix(tsv.compress, fused="split", **words))


def test_a_model_that_names_no_matrices_is_refused():
    with pytest.raises(TadropError, match=r"model\.matrices"):
        merge(golden(), per_matrix(iso.merge))


def test_an_embedding_is_no_linear_layer():
    stream = replace(golden(), matrix_layouts={"A": MatrixLayout("table")})
    with pytest.raises(TadropError, match=r"model\.matrices"):
        merge(stream, per_matrix(wudi.merge, kinds=("linear",)))
    assert delta(stream, per_matrix(iso.merge))[:8].any()


@pytest.mark.parametrize(
    "function",
    [tsv.merge, iso.merge, iso.merge_cts, wudi.solve, partial(wudi.merge, steps=3)],
)
@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (2, 9), (8, 8)])
def test_degenerate_matrices_are_finite(function, shape):
    (good,) = stacked(tasks=1, zeros=0.0, A=shape)
    zero = torch.zeros(shape)
    rank_one = torch.outer(torch.arange(shape[0]) + 1.0, torch.ones(shape[1]))
    for taus in (
        [zero] * 3,
        [good] * 3,
        [good, zero, rank_one],
        [rank_one, -rank_one, rank_one * 1e-20],
    ):
        result = function(torch.stack(taus).half().float())
        assert result.shape == (1, *shape)
        assert torch.isfinite(result).all()


def test_copies_of_one_task_merge_to_it():
    """Identical tasks give the stacked singular vectors rank below their number."""
    (matrix,) = stacked(tasks=1, zeros=0.0, A=(6, 6))
    u, s, vt = np.linalg.svd(matrix.double().numpy())
    merged = tsv.merge(torch.stack([matrix] * 3))[0]
    expect(merged, u[:, :2] * s[:2] @ vt[:2], atol=1e-5)


def test_weights_of_thin_factors_and_of_one_factor():
    method = per_matrix(tsv.compress, rest=reference.individual)
    merged = merge(matrices("t1", "t2"), method)
    zeros = {name: torch.zeros_like(tau) for name, tau in TAUS["t1"].items()}
    base = Checkpoint(Path("base"), (), zeros)
    weights = dict(materialise(base, merged, "t1", 2.0))
    assert torch.equal(weights["A"], 2 * merged.delta("t1", "A"))
    deltas, half = {"b": torch.ones(1, 2)}, torch.tensor([0.5])
    one = Merged(("t1", "t2"), deltas, factors=half)
    assert one.is_shared
    assert one.delta("t2", "b").tolist() == [0.5, 0.5]
