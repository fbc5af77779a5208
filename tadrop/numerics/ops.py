"""Arithmetic that several formulas share.

Its order does not depend on how a tensor is cut into pieces.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tadrop.types import Deltas, Taus


def total(taus: Taus) -> Deltas:
    """The sum over tasks, first to last, [1, *shape].

    It has the same bits whatever the piece it is computed on.
    """
    result = taus[:1].clone()
    for tau in taus[1:]:
        result += tau
    return result


def compiled_total(taus: Taus) -> Deltas:
    """total() in one compiled pass, same bits; contiguous float32 on the CPU."""
    from tadrop.numerics.kernels import entries as kernels

    result = torch.empty_like(taus[:1])
    kernels.add_rows(taus.view(len(taus), -1).numpy(), result.view(-1).numpy())
    return result


def rows(taus: Taus) -> Float[Tensor, "task n"]:
    """Every task's entries as one row, scalars included."""
    return taus.reshape(len(taus), -1)


def along(values: Float[Tensor, " task"], taus: Taus) -> Tensor:
    """One value per task, shaped and typed to go with taus entry by entry."""
    return values.to(taus).view(-1, *[1] * (taus.dim() - 1))


def agreeing(agree: Bool[Tensor, "task *shape"], weights: Tensor | None) -> Tensor:
    """How many tasks agree, or the sum of their weights, [1, *shape]; 1 where it is 0.

    weights: [task]
    """
    if weights is None:
        return agree.sum(0, keepdim=True).clamp(min=1)
    shares = weights.float().view(-1, *[1] * (agree.dim() - 1)) * agree
    divisor = shares.sum(0, keepdim=True)
    return torch.where(divisor.abs() < 1e-8, 1.0, divisor)


def largest(magnitudes: Float[Tensor, "*axes"], count: int) -> Bool[Tensor, "*axes"]:
    """The mask of exactly `count` largest entries along the last axis.

    Among equals the lowest indices stay.
    """
    size = magnitudes.shape[-1]
    if count <= 0 or count >= size:
        return torch.full_like(magnitudes, count > 0, dtype=torch.bool)
    smallest = magnitudes.topk(count, dim=-1).values[..., -1:]
    above = magnitudes > smallest
    equal = magnitudes == smallest
    room = count - above.sum(-1, keepdim=True)
    return above | equal & (equal.cumsum(-1) <= room)
