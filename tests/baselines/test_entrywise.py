"""The other formulas that work entry by entry, with values worked out by hand."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import tensor

from baselines import magmax, metagpt, model_stock, sce, slerp
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.numerics import ops
from tadrop.types import TadropError
from tests.baselines.formulas import delta, expect, table
from tests.golden import TAUS, flat, golden


def test_magmax():
    expect(magmax.merge(tensor([[1.0, -5, 2, -3], [-4.0, 2, -2, 3]])), [[-4, -5, 2, 3]])


def test_metagpt_weighs_by_squared_norm():
    squares = table(TAUS) ** 2
    weights = squares.sum(1) / squares.sum()
    method = Method(metagpt.merge, survey=metagpt.survey)
    expect(delta(golden(), method), weights @ table(TAUS), atol=1e-5)


def test_model_stock():
    taus = tensor([[3.0, 4], [4.0, 3], [5.0, 0]])
    unit = taus.double() / 5
    cos = np.mean([float(a @ b) for a, b in combinations(unit, 2)])
    expected = taus.double().mean(0) * 3 * cos / (1 + 2 * cos)
    expect(model_stock.merge(taus)[0], expected)
    assert model_stock.ratio(tensor([[1.0, 0], [-1.0, 0]])) == 0


def test_sce():
    taus = tensor([[3.0, -1, 0, 2], [1.0, 2, 0, -1]])
    first, second = 14 / 20, 6 / 20
    expect(sce.merge(taus)[0], [3 * first + second, 2, 0, 2])
    expect(sce.merge(taus, select=0.7)[0], [0, 2, 0, 2])


def test_sce_takes_a_zero_sum_as_positive():
    expect(sce.merge(tensor([[3.0, 1], [-3.0, 1]]))[0], [3, 1])


def test_slerp_turns_at_equal_angles():
    taus, half = tensor([[2.0, 0, 0], [0, 2.0, 0]]), 2**0.5
    expect(slerp.merge(taus, torch.zeros(3))[0], [half, half, 0])
    base = tensor([0.0, 0, 1.0])
    a, b = (taus + base).double().numpy()
    omega = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    turned = (np.sin(0.3 * omega) * b + np.sin(0.7 * omega) * a) / np.sin(omega)
    expect(slerp.merge(taus, base, t=0.3)[0], turned - base.numpy())
    expect(slerp.merge(taus, base, of="task_vectors")[0], [half, half, 0])


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


def test_sce_selects_entries_or_only_what_weights_are_made_of():
    """By hand: variances 1, 2.25, 0 and 3.0625, so that the last entry is selected."""
    taus = tensor([[3.0, -1, 0, 2], [1.0, 2, 0, -1.5]])
    expect(sce.merge(taus, select=0.4)[0], [0, 0, 0, 2])
    first, second = 4 / 6.25, 2.25 / 6.25
    by_weights = sce.merge(taus, select=0.4, selects="weights")[0]
    expect(by_weights, [3 * first + second, 2, 0, 2])
    with pytest.raises(TadropError, match="entries or weights"):
        sce.merge(taus, selects="all")


def test_sce_of_small_squares_weighs_all_tasks_the_same_under_a_floor():
    taus = 1e-4 * tensor([[3.0, 1.0], [1.0, 2.0]])
    expect(sce.merge(taus, floor=1e-6)[0], [2e-4, 1.5e-4], atol=1e-10)


def test_slerp_takes_a_tensor_of_zeros_for_orthogonal_as_mergekit_does():
    taus, half = tensor([[0.0, 0, 0], [3.0, 4.0, 0]]), 2**-0.5
    expect(slerp.merge(taus, torch.zeros(3))[0], [3 * half, 4 * half, 0])
    turned = slerp.merge(taus, torch.ones(3), of="task_vectors")[0]
    expect(turned, [3 * half, 4 * half, 0])
    nothing = slerp.merge(torch.zeros(2, 3), torch.zeros(3))
    assert not nothing.any()
