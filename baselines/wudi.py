"""WUDI-Merging (arXiv 2503.08099): the matrix that disturbs the task vectors least.

Per linear layer (out x in), from M = sum_t tau_t on, it minimises

    sum_t ||(M - tau_t) tau_t^T||_F^2 / ||tau_t||_F^2

Only the linear layers of blocks change; everything else stays
pretrained. It sees no data.

The authors run Adam for 300 steps of 1e-5, which does not reach the
minimum. `solve` does reach it, and is a method of its own. The gradient
is 2 (M G - H) with

    G = sum_t tau_t^T tau_t / ||tau_t||^2
    H = sum_t tau_t tau_t^T tau_t / ||tau_t||^2

which is the authors' objective with one product a step instead of T.

Departure: a task whose vector is zero has no term, where the ports
compute 0 / 0.
"""

import torch
from torch import Tensor

from tadrop.numerics.linalg import inverse
from tadrop.numerics.ops import total
from tadrop.types import Deltas, Taus


def _normal_equations(taus: Taus) -> tuple[Tensor, Tensor]:
    """G [in, in] and H [out, in], in the precision of taus."""
    squares = taus.flatten(1).square().sum(1)
    divisors = torch.where(squares > 0, squares, 1)
    weights = torch.where(squares > 0, 1 / divisors, 0)
    gram = torch.zeros_like(taus[0].T @ taus[0])
    right = torch.zeros_like(taus[0])
    for tau, weight in zip(taus, weights, strict=True):
        own = weight * (tau.T @ tau)
        gram += own
        right += tau @ own
    return gram, right


def merge(taus: Taus, steps: int = 300, rate: float = 1e-5) -> Deltas:
    """Adam from the sum, as the authors do; betas 0.9 and 0.999, epsilon 1e-8."""
    gram, right = _normal_equations(taus)
    merged = total(taus)[0]
    first, second = torch.zeros_like(merged), torch.zeros_like(merged)
    for step in range(1, steps + 1):
        gradient = 2 * (merged @ gram - right)
        first.lerp_(gradient, 0.1)
        second.lerp_(gradient.square(), 0.001)
        spread = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
        merged.addcdiv_(first, spread, value=-rate / (1 - 0.9**step))
    return merged.unsqueeze(0)


def solve(taus: Taus) -> Deltas:
    """The minimiser H G^-1, computed in float64.

    The pseudo-inverse is taken where the task vectors do not span all
    inputs.
    """
    gram, right = _normal_equations(taus.double())
    return (right @ inverse(gram)).to(taus.dtype).unsqueeze(0)
