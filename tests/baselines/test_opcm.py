"""OPCM against the authors' recursion."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import tensor

from baselines import opcm, task_arithmetic
from tadrop.merging.engine import merge
from tests.baselines.formulas import MATRIX, draw, expect, per_matrix
from tests.golden import stream_of


def norm(model):
    """The norm over the whole model."""
    return np.sqrt(sum((values**2).sum() for values in model.values()))


def authors_opcm(models, linear, share=0.5):
    """The recursion as the reference code runs it.

    It takes full SVDs, and divides the whole model at each step.
    """
    merged, factor, norms = dict(models[0]), 1.0, [norm(models[0])]
    for tau in models[1:]:
        arriving = dict(tau)
        for name in linear:
            u, s, vt = np.linalg.svd(merged[name])
            p = u.T @ tau[name] @ vt.T
            np.fill_diagonal(p, 0)
            r = int(np.argmax(np.cumsum(s) / s.sum() > share))
            p[:r, :r] = 0
            arriving[name] = u @ p @ vt
        norms.append(norm(tau))
        total = {n: factor * merged[n] + arriving[n] for n in merged}
        factor = norm(total) / np.mean(norms)
        merged = {n: v / factor for n, v in total.items()}
    return merged


def test_opcm_telescopes():
    taus = draw(tasks=5, zeros=0.0, A=(6, 9), b=(7,))
    stream = replace(stream_of(taus), matrix_layouts=MATRIX)
    models = []
    for index in opcm.order(stream, seed=3):
        tensors = taus[stream.tasks[index]]
        models.append({name: tau.double().numpy() for name, tau in tensors.items()})
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
    def arrival(taus, seed):
        stream = stream_of(taus)
        return [stream.tasks[index] for index in opcm.order(stream, seed)]

    taus = {f"t{i}": {"b": torch.ones(1)} for i in range(8)}
    backwards = dict(reversed(taus.items()))
    assert arrival(taus, 0) == arrival(backwards, 0)
    assert arrival(taus, 0) != arrival(taus, 1)


def test_opcm_rank_is_one_more_by_the_paper():
    merged = torch.diag(tensor([3.0, 2, 1])).double()
    tau = torch.ones(3, 3, dtype=torch.float64)
    by_code = opcm.project(merged, tau, 0.6, "code")
    by_docs = opcm.project(merged, tau, 0.6, "docs")
    expect(by_code, [[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    expect(by_docs, [[0, 0, 1], [0, 0, 1], [1, 1, 0]])
