"""The catalogue against values worked out independently, and against slow references that flatten
everything.
"""

from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import tensor

from baselines import (
    average,
    breadcrumbs,
    della,
    iso,
    magmax,
    metagpt,
    model_stock,
    opcm,
    pcb,
    pcb_softmax,
    reference,
    sce,
    slerp,
    tall,
    task_arithmetic,
    ties,
    tsv,
    wudi,
)
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.numerics import ops
from tadrop.sparsify.cut_stream import Sparse, all_cuts
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.magprune import MagPrune, RankCut
from tadrop.sparsify.row_magnitude import RowMagnitude
from tadrop.types import MatrixLayout, LowRank, TadropError, Vector
from tadrop.vectors import passes
from tests.golden import TAUS, flat, golden, stream_of

MATRIX = {"A": MatrixLayout("linear")}


def delta(stream, method, task="t1"):
    merged = merge(stream, method)
    return torch.cat([merged.delta(task, name).reshape(-1) for name in stream.names])


def matrices(*tasks):
    return replace(golden(*tasks), matrix_layouts=MATRIX)


def per_matrix(function, **words):
    return Method(
        function, scope="matrix", rest=words.pop("rest", average.merge), **words
    )


def draw(tasks=4, seed=0, zeros=0.2, **shapes):
    """Random task vectors with exact zeros and repeated values."""
    rng = np.random.default_rng(seed)
    shapes = shapes or {"A": (6, 5), "b": (7,), "c": (2, 3, 4)}
    taus = {}
    for t in range(tasks):
        values = {
            n: rng.normal(size=s) * (rng.random(s) > zeros) for n, s in shapes.items()
        }
        values["b"] = np.round(values["b"], 1) if "b" in values else None
        taus[f"t{t}"] = {
            n: torch.from_numpy(v).float() for n, v in values.items() if v is not None
        }
    return taus


def table(taus):
    """All task vectors flattened, [T, d] float64."""
    return np.stack(
        [
            np.concatenate([v[n].numpy().ravel() for n in sorted(v)])
            for v in taus.values()
        ]
    ).astype(float)


def expect(actual, expected, atol=1e-6):
    torch.testing.assert_close(
        actual.double(), torch.as_tensor(expected).double(), atol=atol, rtol=1e-5
    )


# --- golden values


def test_breadcrumbs_by_rows():
    stream = Sparse(golden(), RowMagnitude(0.5, outliers=0.25))
    method = Method(partial(breadcrumbs.merge, outliers=0.25), scope="tensor")
    expect(delta(stream, method), [-1, -0.5, 1, 0, 0, 0, 0.75, 3, 0.2, 0.2])


def test_pcb_vision():
    method = Method(pcb.merge, survey=partial(pcb.survey, ratio=0.3))
    expect(
        1.2 * delta(golden(), method),
        [3.001683, -2.4, 1.8, 0, 0, 2.99999, 0, 0, 0, 0],
        atol=2e-6,
    )


def test_pcb_root():
    method = Method(
        pcb.merge, survey=partial(pcb.survey, ratio=0.3, winsor=1e-4, inter="plain")
    )
    expect(delta(golden(), method), [2.5, -2, 0, 0, 0, 2.5, 0, -3, 0, 0])


def test_tall_masks():
    masks = torch.cat(
        [tall.merge(golden().taus(n)).masks.reshape(3, -1) for n in "Ab"], dim=1
    )
    assert ["".join(str(int(bit)) for bit in row) for row in masks] == [
        "1110111110",
        "0110101111",
        "1010110111",
    ]


def test_consensus():
    expect(
        delta(golden(), Method(tall.consensus)), [5, -2.5, 1, 0, 0, 5, 0.75, -1, 0, 0.3]
    )


def test_iso_c():
    expected = [
        4.977262,
        -1.392807,
        1.159826,
        -0.219165,
        1.095824,
        4.959776,
        1.045318,
        -1.101538,
    ]
    expect(delta(matrices(), per_matrix(iso.merge))[:8], expected, atol=2e-6)


def test_tsv_m_of_two_tasks():
    expected = [
        4.316783,
        -2.758109,
        0.196123,
        -0.531453,
        0.424495,
        1.714249,
        0.71639,
        -4.722957,
    ]
    expect(delta(matrices("t1", "t2"), per_matrix(tsv.merge))[:8], expected)


def test_tsv_with_fewer_directions_than_tasks_leaves_the_matrix_pretrained():
    assert not delta(matrices(), per_matrix(tsv.merge))[:8].any()
    merged = merge(matrices(), per_matrix(tsv.compress, rest=reference.individual))
    assert not merged.delta("t1", "A").any()
    assert torch.equal(merged.delta("t2", "b"), TAUS["t2"]["b"])


# --- references on the whole flattened model


def flat_trim(x, keep):
    """TIES' trim of every row, by the k-th smallest magnitude."""
    d = x.shape[1]
    kth = np.sort(np.abs(x), axis=1)[:, d - int(d * keep) - 1]
    return np.where(np.abs(x) >= kth[:, None], x, 0)


def flat_ties(x, combine):
    sign = np.sign(x.sum(0))
    sign[sign == 0] = np.sign(sign.sum())
    chosen = np.where(np.sign(x) == sign, x, 0)
    counts = np.maximum((chosen != 0).sum(0), 1)
    return {
        "sum": chosen.sum(0),
        "mean": chosen.sum(0) / counts,
        "max": np.abs(chosen).max(0) * sign,
    }[combine]


@pytest.mark.parametrize("combine", ["mean", "sum", "max"])
def test_ties_streams(combine):
    taus = draw(zeros=0.0, A=(6, 5), c=(2, 3, 4))
    stream = Sparse(stream_of(taus), Magnitude(0.4, count="ties", scope="model"))
    method = Method(partial(ties.merge, combine=combine), survey=ties.survey)
    expect(
        delta(stream, method),
        flat_ties(flat_trim(table(taus), 0.4), combine),
        atol=1e-5,
    )


def flat_clamp(x, below, above):
    d = x.shape[1]
    ordered = np.sort(x, axis=1)
    return np.clip(
        x, ordered[:, [int(d * below)]], ordered[:, [int(d * (1 - above) - 1)]]
    )


def flat_norm(x):
    low, high = x.min(1, keepdims=True), x.max(1, keepdims=True)
    return (x - low) / (high - low)


def flat_pcb(x, ratio, winsor, inter):
    clamped = flat_clamp(np.abs(x), winsor, winsor)
    other = np.sign(x) * flat_norm(clamped) if inter == "normalised" else x
    beta = np.exp(len(x) * flat_norm(clamped) ** 2) * np.tanh(x * other.sum(0))
    weight = flat_norm(flat_clamp(beta, 1 - ratio, 0))
    return (np.sign(x) * clamped * weight).sum(0) / np.maximum(weight.sum(0), 1e-12)


@pytest.mark.parametrize(
    ("inter", "winsor"), [("normalised", 0.01), ("plain", 0.01), ("plain", 1e-4)]
)
@pytest.mark.parametrize("block", [16, 1 << 20])
def test_pcb_streams(inter, winsor, block, monkeypatch):
    monkeypatch.setattr(passes, "ALIGN", 8)
    monkeypatch.setattr(passes, "PIECE", block)
    taus = draw(seed=1, zeros=0.1, A=(12, 9), b=(20,), c=(3, 4, 5))
    method = Method(
        pcb.merge, survey=partial(pcb.survey, ratio=0.2, winsor=winsor, inter=inter)
    )
    expect(
        delta(stream_of(taus), method),
        flat_pcb(table(taus), 0.2, winsor, inter),
        atol=1e-4,
    )


def softmax_pcb(x, ratio):
    softmax = lambda v: np.exp(v) / np.exp(v).sum()  # noqa: E731
    unit = lambda v: (v - v.min()) / (v.max() - v.min())  # noqa: E731
    beta = np.stack(
        [
            softmax(len(x) * unit(one * one))
            * sum(softmax(unit(one * other)) for other in x)
            for one in x
        ]
    )
    weight = flat_norm(flat_clamp(beta, 1 - ratio, 0))
    return (x * weight).sum(0) / np.maximum(weight.sum(0), 1e-12)


def test_pcb_by_the_papers_formula():
    taus = draw(seed=2, zeros=0.0, A=(12, 9), c=(3, 4, 5))
    method = Method(pcb_softmax.merge, survey=partial(pcb_softmax.survey, ratio=0.2))
    expect(delta(stream_of(taus), method), softmax_pcb(table(taus), 0.2), 1e-4)


def test_pcb_of_a_hundred_tasks_is_finite():
    """exp(100) does not fit float32."""
    taus = draw(tasks=100, seed=2, zeros=0.0, A=(12, 9))
    code = Method(pcb.merge, survey=partial(pcb.survey, ratio=0.2))
    expect(
        delta(stream_of(taus), code, "t0"),
        flat_pcb(table(taus), 0.2, 0.01, "normalised"),
        1e-4,
    )
    paper = Method(pcb_softmax.merge, survey=partial(pcb_softmax.survey, ratio=0.2))
    expect(delta(stream_of(taus), paper, "t0"), softmax_pcb(table(taus), 0.2), 1e-4)


def test_pcb_refuses_what_it_does_not_know():
    with pytest.raises(TadropError, match="inter"):
        pcb.survey(golden(), inter="softmax")
    with pytest.raises(TadropError, match="ratio"):
        pcb.survey(golden(), ratio=20)


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
    consensus = Method(
        partial(tall.consensus_ties, lambdas=lambdas, threshold=3), **words
    )
    expect(delta(stream, consensus), multi * (masks.sum(0) >= 3), atol=1e-5)


def test_tall_refuses_a_list_of_the_wrong_length():
    with pytest.raises(TadropError, match="2 values for 3 tasks"):
        tall.merge(golden().taus("A"), lambdas=[0.2, 0.3])


def authors_opcm(models, linear, share=0.5):
    """The recursion as the reference code runs it, full SVD and one division of the whole model at
    each step.
    """
    merged, factor, norms = (
        dict(models[0]),
        1.0,
        [np.sqrt(sum((v**2).sum() for v in models[0].values()))],
    )
    for tau in models[1:]:
        arriving = dict(tau)
        for name in linear:
            u, s, vt = np.linalg.svd(merged[name])
            p = u.T @ tau[name] @ vt.T
            np.fill_diagonal(p, 0)
            r = int(np.argmax(np.cumsum(s) / s.sum() > share))
            p[:r, :r] = 0
            arriving[name] = u @ p @ vt
        norms.append(np.sqrt(sum((v**2).sum() for v in tau.values())))
        total = {n: factor * merged[n] + arriving[n] for n in merged}
        factor = np.sqrt(sum((v**2).sum() for v in total.values())) / np.mean(norms)
        merged = {n: v / factor for n, v in total.items()}
    return merged


def test_opcm_telescopes():
    taus = draw(tasks=5, zeros=0.0, A=(6, 9), b=(7,))
    stream = replace(stream_of(taus), matrix_layouts=MATRIX)
    arrival = opcm.order(stream, seed=3)
    models = [
        {n: v.double().numpy() for n, v in taus[stream.tasks[i]].items()}
        for i in arrival
    ]
    expected = authors_opcm(models, ["A"])
    method = per_matrix(
        opcm.merge,
        rest=task_arithmetic.merge,
        survey=partial(opcm.order, seed=3),
        tally=opcm.tally,
        rescale=opcm.rescale,
    )
    merged = merge(stream, method)
    assert merged.is_shared
    for name, value in expected.items():
        expect(merged.delta("t0", name), value, atol=1e-5)


def test_opcm_order_is_drawn_by_task_and_depends_on_the_seed():
    names = [f"t{i}" for i in range(8)]
    taus = {n: {"b": torch.ones(1)} for n in names}
    by_name = lambda s, seed: [s.tasks[i] for i in opcm.order(s, seed)]  # noqa: E731
    assert by_name(stream_of(taus), 0) == by_name(
        stream_of(dict(reversed(taus.items()))), 0
    )
    assert by_name(stream_of(taus), 0) != by_name(stream_of(taus), 1)


def test_opcm_rank_is_one_more_by_the_paper():
    merged, tau = (
        torch.diag(tensor([3.0, 2, 1])).double(),
        torch.ones(3, 3, dtype=torch.float64),
    )
    expect(opcm.project(merged, tau, 0.6, "code"), [[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    expect(opcm.project(merged, tau, 0.6, "docs"), [[0, 0, 1], [0, 0, 1], [1, 1, 0]])


# --- per matrix


def test_tsv_m_against_numpy():
    taus = draw(tasks=3, zeros=0.0, A=(9, 7))
    k = 7 // 3
    factors = [
        np.linalg.svd(v["A"].double().numpy(), full_matrices=False)
        for v in taus.values()
    ]
    u = np.concatenate([f[0][:, :k] for f in factors], axis=1)
    v = np.concatenate([f[2][:k].T for f in factors], axis=1)
    s = np.concatenate([f[1][:k] for f in factors])
    whiten = lambda m: (
        np.linalg.svd(m, full_matrices=False)[0]
        @ np.linalg.svd(m, full_matrices=False)[2]
    )
    stream = replace(stream_of(taus), matrix_layouts=MATRIX)
    expect(
        delta(stream, per_matrix(tsv.merge)),
        (whiten(u) * s @ whiten(v).T).ravel(),
        atol=1e-5,
    )


def test_tsv_c_keeps_thin_factors_and_counts_their_bytes():
    taus = draw(tasks=3, zeros=0.0, A=(9, 7))
    merged = merge(
        replace(stream_of(taus), matrix_layouts=MATRIX),
        per_matrix(tsv.compress, rest=reference.individual),
    )
    u, s, vt = np.linalg.svd(taus["t1"]["A"].double().numpy(), full_matrices=False)
    expect(merged.delta("t1", "A"), u[:, :2] * s[:2] @ vt[:2], atol=1e-5)
    assert merged.stored_bytes() == 4 * 3 * 2 * (9 + 7)
    assert not merged.is_shared


def test_iso_cts_against_numpy():
    taus = draw(tasks=2, zeros=0.0, A=(12, 10))
    x = [v["A"].double().numpy() for v in taus.values()]
    r, k = 10, 8
    each = round((r - k) / 2)
    u, s, vt = np.linalg.svd(sum(x), full_matrices=False)
    u, s, vt = u[:, : r - 2 * each], s[: r - 2 * each], vt[: r - 2 * each]
    own = [np.linalg.svd(one - u @ u.T @ one, full_matrices=False) for one in x]
    lefts = np.concatenate([o[0][:, :each] for o in own] + [u], axis=1)
    rights = np.concatenate([o[2][:each] for o in own] + [vt])
    values = np.concatenate([o[1][:each] for o in own] + [s])
    pu, _, pvt = np.linalg.svd(lefts, full_matrices=False)
    qu, _, qvt = np.linalg.svd(rights, full_matrices=False)
    stream = replace(stream_of(taus), matrix_layouts=MATRIX)
    expect(
        delta(stream, per_matrix(iso.merge_cts)),
        (values.mean() * (pu @ pvt) @ (qu @ qvt)).ravel(),
        atol=1e-5,
    )


def test_iso_cts_with_nothing_left_for_the_tasks_is_iso_c():
    taus = draw(tasks=5, zeros=0.0, A=(6, 9))
    stream = replace(stream_of(taus), matrix_layouts=MATRIX)
    expect(
        delta(stream, per_matrix(iso.merge_cts)),
        delta(stream, per_matrix(iso.merge)),
        atol=1e-5,
    )


def test_iso_cts_never_takes_more_directions_than_there_are():
    """Three directions for two tasks round to two each."""
    taus = torch.stack([v["A"] for v in draw(tasks=2, zeros=0.0, A=(3, 5)).values()])
    values = torch.linalg.svdvals(iso.merge_cts(taus, common=0.0)[0])
    expect(values, values.mean().expand(3), atol=1e-5)
    left, shared, _ = torch.linalg.svd(
        taus.double().sum(0)
    )  # one of the sum's, and one each
    outside = taus.double() - left[:, :1] @ left[:, :1].mT @ taus.double()
    expect(
        values.mean(),
        (shared[0] + torch.linalg.svdvals(outside)[:, 0].sum()) / 3,
        atol=1e-5,
    )
    with pytest.raises(TadropError, match="common"):
        iso.merge_cts(taus, common=80)


def disturbance(merged, taus):
    """WUDI's objective as the authors write it."""
    return sum(
        ((merged - tau) @ tau.T).square().sum() / tau.square().sum() for tau in taus
    )


def test_wudi_is_the_authors_loop():
    taus = torch.stack([v["A"] for v in draw(tasks=3, zeros=0.0, A=(5, 8)).values()])
    free = taus.sum(0).requires_grad_()
    optimiser = torch.optim.Adam([free], lr=1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        disturbance(free, taus).backward()
        optimiser.step()
    expect(wudi.merge(taus, steps=40, rate=1e-2)[0], free.detach(), atol=1e-4)


def test_wudi_exact_is_the_minimum():
    taus = torch.stack(
        [v["A"] for v in draw(tasks=3, zeros=0.0, A=(5, 8)).values()]
    ).double()
    best = wudi.solve(taus)[0].requires_grad_()
    disturbance(best, taus).backward()
    assert best.grad.abs().max() < 1e-9
    assert disturbance(best, taus) < disturbance(
        wudi.merge(taus.float(), steps=300, rate=1e-5)[0].double(), taus
    )


def test_wudi_with_a_task_that_was_dropped_entirely():
    taus = torch.stack(
        [torch.zeros(4, 3), *(v["A"] for v in draw(tasks=2, A=(4, 3)).values())]
    )
    for function in (partial(wudi.merge, steps=5), wudi.solve):
        expect(function(taus), function(taus[1:]), atol=1e-5)
        assert not function(taus[:1]).any()


def test_transposed_and_fused_matrices_reach_the_formula_upright():
    """WUDI is not the same on a transposed matrix, nor on a fused one: the layout decides."""
    taus = draw(tasks=3, zeros=0.0, A=(6, 4))
    turned = {t: {"A": v["A"].T.contiguous()} for t, v in taus.items()}
    upright = delta(
        replace(stream_of(taus), matrix_layouts=MATRIX), per_matrix(wudi.solve)
    ).view(6, 4)
    stored = replace(
        stream_of(turned), matrix_layouts={"A": MatrixLayout("linear", transposed=True)}
    )
    expect(delta(stored, per_matrix(wudi.solve)).view(4, 6).T, upright)
    fused = replace(stream_of(taus), matrix_layouts={"A": MatrixLayout("linear", blocks=3)})
    expect(delta(fused, per_matrix(wudi.solve)).view(6, 4), upright)
    parts = torch.cat(
        [wudi.solve(fused.taus("A")[:, at : at + 2])[0] for at in (0, 2, 4)]
    )
    expect(delta(fused, per_matrix(wudi.solve, fused="split")).view(6, 4), parts)
    assert not torch.allclose(parts, upright, atol=1e-3)


def test_thin_factors_of_a_transposed_matrix():
    taus = draw(tasks=2, zeros=0.0, A=(6, 4))
    stream = replace(stream_of(taus), matrix_layouts={"A": MatrixLayout("linear", transposed=True)})
    merged = merge(stream, per_matrix(tsv.compress, rest=reference.individual))
    assert isinstance(merged.low_rank["A"], LowRank)
    u, s, vt = np.linalg.svd(taus["t1"]["A"].double().numpy(), full_matrices=False)
    expect(merged.delta("t1", "A"), u[:, :2] * s[:2] @ vt[:2], atol=1e-5)
    fused = replace(stream_of(taus), matrix_layouts={"A": MatrixLayout("linear", blocks=2)})
    with pytest.raises(TadropError, match="fused=whole"):
        merge(fused, per_matrix(tsv.compress, rest=reference.individual, fused="split"))


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
    good, zero = draw(tasks=1, zeros=0.0, A=shape)["t0"]["A"], torch.zeros(shape)
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
    matrix = draw(tasks=1, zeros=0.0, A=(6, 6))["t0"]["A"]
    u, s, vt = np.linalg.svd(matrix.double().numpy())
    expect(
        tsv.merge(torch.stack([matrix] * 3))[0], u[:, :2] * s[:2] @ vt[:2], atol=1e-5
    )


# --- row cuts


def authors_breadcrumbs(tau, beta, gamma):
    """Per row: zero the int(gamma n) largest, then keep the int(beta n) largest of the rest."""
    result = np.zeros_like(tau)
    for row, out in zip(
        tau.reshape(-1, tau.shape[-1]), result.reshape(-1, tau.shape[-1]), strict=True
    ):
        order = np.argsort(-np.abs(row), kind="stable")
        kept = order[int(gamma * len(row)) :][: int(beta * len(row))]
        out[kept] = row[kept]
    return result


@pytest.mark.parametrize("block", [40, 1 << 20])
def test_breadcrumbs_by_rows_against_a_loop(block, monkeypatch):
    monkeypatch.setattr(passes, "ALIGN", 8)
    monkeypatch.setattr(passes, "PIECE", block)
    taus = draw(seed=5, A=(4, 20), b=(30,), c=(2, 3, 15))
    stream = Sparse(stream_of(taus), RowMagnitude(0.3, outliers=0.1))
    merged = merge(
        stream, Method(partial(breadcrumbs.merge, outliers=0.1), scope="tensor")
    )
    for name in stream.names:
        expected = sum(
            authors_breadcrumbs(v[name].double().numpy(), 0.3, 0.1)
            for v in taus.values()
        )
        expect(merged.delta("t0", name), expected, atol=1e-5)


def test_breadcrumbs_truncation_empties_short_rows():
    taus = draw(A=(5, 14))
    stream = Sparse(stream_of(taus), RowMagnitude(0.05, outliers=0.006))
    assert not delta(stream, Method(breadcrumbs.merge, scope="tensor")).any()


def test_breadcrumbs_by_tensor():
    values = torch.arange(1.0, 21.0).view(4, 5)
    stream = Sparse(stream_of({"t1": {"A": values}}), Magnitude(0.4))
    method = Method(
        partial(breadcrumbs.merge, outliers=0.1, by="tensor"), scope="tensor"
    )
    expect(delta(stream, method), [*[0] * 12, 13, 14, 15, 16, 17, 18, 0, 0])


def test_breadcrumbs_outliers_go_whatever_made_the_lower_cut():
    taus = tensor([[[9.0, 8, 1, 2, 0.5]]])
    expect(breadcrumbs.merge(taus, outliers=0.4), [[[0, 0, 1, 2, 0.5]]])


def test_row_cut_facts_count_exactly():
    stream = Sparse(stream_of(draw(zeros=0.0)), RowMagnitude(0.5))
    for (task, name), cut in all_cuts(stream).items():
        assert (
            int((stream.taus(name)[stream.tasks.index(task)] != 0).sum())
            == cut.facts().kept
        )


def test_magprune_probabilities_grow_with_the_rank():
    cut = RankCut(("w",), row=5, keep=0.7, window=0.2)
    expect(
        cut.probabilities(tensor([[3.0, -1, 0, 5, 2]])), [[0.75, 0.65, 0.6, 0.8, 0.7]]
    )
    expect(
        RankCut(("w",), row=1, keep=0.7, window=0.2).probabilities(
            tensor([[3.0], [1.0]])
        ),
        [[0.7], [0.7]],
    )


def test_magprune_keeps_as_often_as_it_says_and_preserves_the_mean():
    tau = torch.arange(1.0, 11.0).repeat(20000, 1)
    pruned = MagPrune(0.6, 0.4, seed=0).plan(Vector.of(tau)).apply(tau)
    kept = (pruned != 0).double().mean(0)
    expect(kept, 0.4 + 0.4 * torch.arange(10) / 9, atol=0.015)
    expect(pruned.double().mean(0) / tau[0], torch.ones(10), atol=0.03)


def test_magprune_draws_by_task_tensor_and_index():
    tau = torch.ones(40, 50)
    plan = lambda task, name, seed=0: MagPrune(0.5, 0.2, seed).plan(
        Vector.of(tau, task, name)
    )  # noqa: E731
    whole = plan("t", "n").apply(tau)
    pieces = [
        plan("t", "n").apply(tau[at : at + 5], start=at * 50) for at in range(0, 40, 5)
    ]
    assert torch.equal(torch.cat(pieces), whole)
    for other in (plan("u", "n"), plan("t", "m"), plan("t", "n", 1)):
        assert not torch.equal(other.apply(tau), whole)


@pytest.mark.parametrize(
    "words", [{"keep": 0.05, "window": 0.14}, {"keep": 0.95, "window": 0.14}]
)
def test_magprune_refuses_what_is_no_probability(words):
    with pytest.raises(TadropError, match="probabilities"):
        MagPrune(seed=0, **words)


def test_della_takes_a_zero_sum_as_positive():
    expect(della.merge(tensor([[1.0, 2, -3], [-1.0, 4, -1]])), [[1, 3, -2]])


# --- the rest


def test_magmax():
    expect(magmax.merge(tensor([[1.0, -5, 2, -3], [-4.0, 2, -2, 3]])), [[-4, -5, 2, 3]])


def test_metagpt_weighs_by_squared_norm():
    squares = table(TAUS) ** 2
    weights = squares.sum(1) / squares.sum()
    expect(
        delta(golden(), Method(metagpt.merge, survey=metagpt.survey)),
        weights @ table(TAUS),
        atol=1e-5,
    )


def test_model_stock():
    taus = tensor([[3.0, 4], [4.0, 3], [5.0, 0]])
    unit = taus.double() / 5
    cos = np.mean([float(unit[i] @ unit[j]) for i, j in combinations(range(3), 2)])
    expect(model_stock.merge(taus)[0], taus.double().mean(0) * 3 * cos / (1 + 2 * cos))
    assert model_stock.ratio(tensor([[1.0, 0], [-1.0, 0]])) == 0


def test_sce():
    taus = tensor([[3.0, -1, 0, 2], [1.0, 2, 0, -1]])
    first, second = 14 / 20, 6 / 20
    expect(sce.merge(taus)[0], [3 * first + second, 2, 0, 2])
    expect(sce.merge(taus, select=0.7)[0], [0, 2, 0, 2])


def test_sce_takes_a_zero_sum_as_positive():
    expect(sce.merge(tensor([[3.0, 1], [-3.0, 1]]))[0], [3, 1])


def test_slerp_turns_at_equal_angles():
    first, second, zero = tensor([2.0, 0, 0]), tensor([0, 2.0, 0]), torch.zeros(3)
    half = 2**0.5
    expect(slerp.merge(torch.stack([first, second]), zero)[0], [half, half, 0])
    base = tensor([0.0, 0, 1.0])
    a, b = (first + base).double().numpy(), (second + base).double().numpy()
    omega = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    expected = (np.sin(0.3 * omega) * b + np.sin(0.7 * omega) * a) / np.sin(
        omega
    ) - base.numpy()
    expect(slerp.merge(torch.stack([first, second]), base, t=0.3)[0], expected)
    expect(
        slerp.merge(torch.stack([first, second]), base, of="task_vectors")[0],
        [half, half, 0],
    )


def test_slerp_of_nearly_parallel_tensors_is_linear():
    taus = tensor([[1e-3, 0.0], [0.0, 1e-3]])
    expect(slerp.merge(taus, tensor([1.0, 1.0])), [[5e-4, 5e-4]], atol=1e-9)


def test_slerp_wants_two_models():
    with pytest.raises(TadropError, match=r"two models and got 3.*tasks\.names"):
        merge(golden(), Method(slerp.merge, scope="tensor", needs=["theta0"]))


def test_largest_takes_exactly_so_many_and_the_first_among_equals():
    values = tensor([[1.0, 2, 2, 2, 0], [0.0, 0, 0, 0, 0]])
    assert ops.largest(values, 2).int().tolist() == [[0, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    assert not ops.largest(values, 0).any()
    assert ops.largest(values, 9).all()


def test_flat_keeps_the_golden_order():
    assert flat(TAUS["t1"]).tolist()[:3] == [4, -1, 0.5]
