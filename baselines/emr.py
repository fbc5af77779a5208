"""EMR-Merging (arXiv 2405.17461): elect a unified vector, mask it per task, rescale it
per task. Needs the task id.

Rescaler: the paper divides sums over all entries; the authors' code for 8 ViT tasks,
RoBERTa, GPT-2 and BEiT3 divides sums of per-tensor means, so that a LayerNorm weighs as
much as a matrix. Both are offered; least_squares is the factor that minimises the
distance to the task vector, which the paper's argument describes but its formula is
not. An entry whose sum is exactly 0 elects the negative sign, as in the authors' code.
"""

import torch
from torch import Tensor

from tadrop.numerics.ops import rows, total
from tadrop.types import Masked, TadropError, Taus


def merge(taus: Taus) -> Masked:
    """The unified vector (elected sign times the largest agreeing magnitude) and the
    sign-agreement masks.
    """
    sign = torch.where(total(taus)[0] > 0, 1.0, -1.0)
    agree = taus * sign > 0
    magnitude = torch.where(agree, taus.abs(), 0).amax(0)
    return Masked(sign * magnitude, agree)


def tally(taus: Taus, merged: Masked) -> Tensor:
    """Per task: sum |tau|, sum |M tau_uni|, sum |tau| |M tau_uni|, sum |M tau_uni|^2;
    [4, T] float64.
    """
    tau = rows(taus.abs())
    masked = rows(torch.where(merged.masks, merged.shared.abs(), 0))
    products = (tau, masked, tau * masked, masked.square())
    return torch.stack([row.sum(1, dtype=torch.float64) for row in products])


def rescale(sums: Tensor, sizes: Tensor, rule: str = "paper") -> Tensor:
    """lambda_t from tallies [tensor, 4, T]. rule: paper | code | least_squares. 1 where
    nothing is left of a task.
    """
    if rule == "code":
        sums = (
            sums / sizes.clamp(min=1).to(sums)[:, None, None]
        )  # a tensor without entries has no mean, and counts 0
    elif rule not in ("paper", "least_squares"):
        raise TadropError(
            f"rescaler is {rule!r}; it must be paper, code or least_squares"
        )
    tau, masked, product, square = sums.sum(0)
    above, below = (product, square) if rule == "least_squares" else (tau, masked)
    return torch.where(below > 0, above / below, 1.0).float()


def fused(taus: Taus) -> tuple[Masked, Tensor]:
    """merge() and tally() compiled."""
    from tadrop.numerics import formula_kernels as kernels

    unified, masks = (
        torch.empty_like(taus[0]),
        torch.empty(taus.shape, dtype=torch.bool),
    )
    sums = torch.zeros(4, len(taus), dtype=torch.float64)
    flat = (
        taus.view(len(taus), -1).numpy(),
        unified.view(-1).numpy(),
        masks.view(len(taus), -1).numpy(),
    )
    kernels.emr(*flat, sums.numpy())
    return Masked(unified, masks), sums
