"""Formulas that store less of each task: by hand, and against slow loops."""

import pytest
import torch

from baselines import bitdelta, quantised
from tadrop.types import TadropError


def test_bitdelta_by_hand():
    taus = torch.tensor([[[1.0, -2], [0, 5]], [[0, 0], [0, 0]]])
    expected = torch.tensor([[[2.0, -2], [-2, 2]], [[0, 0], [0, 0]]])
    assert torch.equal(bitdelta.merge(taus), expected)


def test_bitdelta_is_the_nearest_of_one_scale():
    taus = torch.randn(3, 20, 7)
    nearest = (bitdelta.merge(taus) - taus).square().sum((1, 2))
    for factor in (0.99, 1.01):
        other = (factor * bitdelta.merge(taus) - taus).square().sum((1, 2))
        assert (nearest < other).all()


def test_quantised_by_hand():
    """Two bits: the step is (4.75 + 1.25) / 3 = 2, 0 is level round(0.625) = 1."""
    taus = torch.tensor([[-1.25, 0, 0.75, 1.25, 2.5, 4.75]])
    assert quantised.merge(taus, 2).tolist() == [[-2, 0, 0, 2, 2, 4]]
    # Step (3 + 3) / 3 = 2, and 0 is level round(1.5) = 2: from -4 to 2.
    taus = torch.tensor([[-3.0, -2, 0.5, 3]])
    assert quantised.merge(taus, 2).tolist() == [[-4, -2, 0, 2]]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_quantised_against_a_loop(bits):
    taus = torch.randn(2, 3, 50) * torch.tensor([1.0, 1e-3]).view(2, 1, 1) + 1e-4
    merged = quantised.merge(taus, bits)
    for tau, got in zip(taus, merged, strict=True):
        values = tau.double().reshape(-1).tolist()
        step = (max(*values, 0) - min(*values, 0)) / (2**bits - 1)
        zero = round(-min(*values, 0) / step)
        expected = []
        for value in values:
            level = min(max(round(value / step) + zero, 0), 2**bits - 1)
            expected.append(step * (level - zero))
        expected = torch.tensor(expected, dtype=torch.float64).float()
        assert torch.equal(got.reshape(-1), expected)
        assert len(got.unique()) <= 2**bits
        assert float((got - tau).abs().max()) <= 1.01 * step


def test_zeros_stay_zeros_and_bits_are_told():
    for formula in (bitdelta.merge, quantised.merge):
        assert not formula(torch.zeros(2, 3, 4)).any()
        assert formula(torch.empty(2, 0, 3)).shape == (2, 0, 3)
    for bits in (1, 9):
        with pytest.raises(
            TadropError, match=f"bits is {bits}; it must be from 2 to 8"
        ):
            quantised.merge(torch.ones(1, 2), bits)
