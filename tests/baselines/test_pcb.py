"""PCB-Merging against references on the whole flattened model."""

from functools import partial

import numpy as np
import pytest

from baselines import pcb, pcb_softmax
from tadrop.merging.method import Method
from tadrop.types import TadropError
from tadrop.vectors import passes
from tests.baselines.formulas import delta, draw, expect, table
from tests.golden import golden, stream_of


def test_pcb_vision():
    method = Method(pcb.merge, survey=partial(pcb.survey, ratio=0.3))
    expected = [3.001683, -2.4, 1.8, 0, 0, 2.99999, 0, 0, 0, 0]
    expect(1.2 * delta(golden(), method), expected, atol=2e-6)


def test_pcb_root():
    survey = partial(pcb.survey, ratio=0.3, winsor=1e-4, inter="plain")
    method = Method(pcb.merge, survey=survey)
    expect(delta(golden(), method), [2.5, -2, 0, 0, 0, 2.5, 0, -3, 0, 0])


def flat_clamp(x, below, above):
    """Every row winsorised at the places that the authors' scripts take."""
    d = x.shape[1]
    ordered = np.sort(x, axis=1)
    low = ordered[:, [int(d * below)]]
    high = ordered[:, [int(d * (1 - above) - 1)]]
    return np.clip(x, low, high)


def flat_norm(x):
    """Every row min-max scaled."""
    low, high = x.min(1, keepdims=True), x.max(1, keepdims=True)
    return (x - low) / (high - low)


def flat_pcb(x, ratio, winsor, inter):
    """PCB of vectors [T, d] by the authors' scripts."""
    clamped = flat_clamp(np.abs(x), winsor, winsor)
    signed = np.sign(x) * flat_norm(clamped)
    if inter == "pairwise":
        inter_balance = np.tanh(signed[:, None] * signed[None]).sum(1)
    else:
        other = signed if inter == "normalised" else x
        inter_balance = np.tanh(x * other.sum(0))
    beta = np.exp(len(x) * flat_norm(clamped) ** 2) * inter_balance
    weight = flat_norm(flat_clamp(beta, 1 - ratio, 0))
    return (np.sign(x) * clamped * weight).sum(0) / np.maximum(weight.sum(0), 1e-12)


@pytest.mark.parametrize(
    ("inter", "winsor"),
    [("normalised", 0.01), ("plain", 0.01), ("plain", 1e-4), ("pairwise", 0.01)],
)
@pytest.mark.parametrize("piece", [16, 1 << 20])
def test_pcb_streams(inter, winsor, piece, monkeypatch):
    monkeypatch.setattr(passes, "ALIGN", 8)
    monkeypatch.setattr(passes, "PIECE", piece)
    taus = draw(seed=1, zeros=0.1, A=(12, 9), b=(20,), c=(3, 4, 5))
    survey = partial(pcb.survey, ratio=0.2, winsor=winsor, inter=inter)
    merged = delta(stream_of(taus), Method(pcb.merge, survey=survey))
    expect(merged, flat_pcb(table(taus), 0.2, winsor, inter), atol=1e-4)


def softmax(values):
    return np.exp(values) / np.exp(values).sum()


def softmax_pcb(x, ratio):
    """PCB of vectors [T, d] by the paper's formula."""
    betas = []
    for tau in x:
        intra = softmax(len(x) * flat_norm(tau[None] * tau))
        inter = sum(softmax(flat_norm(tau[None] * other)) for other in x)
        betas.append((intra * inter)[0])
    weight = flat_norm(flat_clamp(np.stack(betas), 1 - ratio, 0))
    return (x * weight).sum(0) / np.maximum(weight.sum(0), 1e-12)


def test_pcb_by_the_papers_formula():
    taus = draw(seed=2, zeros=0.0, A=(12, 9), c=(3, 4, 5))
    method = Method(pcb_softmax.merge, survey=partial(pcb_softmax.survey, ratio=0.2))
    expect(delta(stream_of(taus), method), softmax_pcb(table(taus), 0.2), 1e-4)


def test_pcb_of_a_hundred_tasks_is_finite():
    """exp(100) does not fit float32."""
    taus = draw(tasks=100, seed=2, zeros=0.0, A=(12, 9))
    code = Method(pcb.merge, survey=partial(pcb.survey, ratio=0.2))
    expected = flat_pcb(table(taus), 0.2, 0.01, "normalised")
    expect(delta(stream_of(taus), code, "t0"), expected, 1e-4)
    paper = Method(pcb_softmax.merge, survey=partial(pcb_softmax.survey, ratio=0.2))
    expect(delta(stream_of(taus), paper, "t0"), softmax_pcb(table(taus), 0.2), 1e-4)


def test_pcb_refuses_what_it_does_not_know():
    with pytest.raises(TadropError, match="inter"):
        pcb.survey(golden(), inter="softmax")
    with pytest.raises(TadropError, match="ratio"):
        pcb.survey(golden(), ratio=20.0)
