"""RegMean (arXiv 2212.09849): per weight matrix, the least-squares fit to every model's
outputs on its own inputs.

W = (sum_t W_t G_t) (sum_t G_t)^-1 with the Gram matrix G_t = X_t^T X_t of the matrix's
inputs, entries off the diagonal times a; on task vectors this is theta0 plus the same
expression of the taus. Tensors without a Gram matrix (biases, norms, embeddings,
convolutions) are averaged, as in the authors' code. The inputs are seen at the product
itself (tadrop/taps.py), so that fused projections and GPT-2's Conv1D need no case of
their own. Where sum_t G_t is singular, directions that no input has take the mean of
the task vectors.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tadrop.modules import batches as batching
from tadrop.modules.taps import Product, tapped
from tadrop.numerics.linalg import inverse
from tadrop.numerics.ops import total
from tadrop.types import Deltas, Slot, Taus

SINGULAR = 1e-7  # of the largest: what float32 Gram matrices cannot tell from 0


@torch.no_grad()
def gram(
    module: nn.Module, batches: Iterator[Any], places: Mapping[str, Slot]
) -> dict[str, Tensor]:
    """X^T X [in, in] of every merged weight matrix, summed over tokens and divided by
    the number of examples.
    """
    sums, count = {}, 0

    def visit(product: Product, output: Tensor) -> Tensor:
        x = product.inputs.reshape(-1, product.inputs.shape[-1])
        sums[product.weight] = sums.get(product.weight, 0) + x.T @ x
        return output

    with tapped(module, places, visit):
        for inputs in batches:
            for part in batching.unpadded(
                inputs
            ):  # a Gram matrix of padding would say how a batch was put together
                module(part)
            count += batching.count(inputs)
    return {name: value / count for name, value in sums.items()}


def solve(right: Tensor, gram: Tensor) -> Tensor:
    """right @ gram^-1, or the pseudo-inverse where gram is singular to a float32's
    precision.

    Inputs are brought to one scale first: a quiet neuron is no dead one.
    """
    loud = gram.diagonal().sqrt()
    unit = torch.where(loud > 0, 1 / loud, 0)
    right, gram = right * unit, gram * unit * unit.unsqueeze(1)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if int(failed) == 0 and factor.diagonal().square().min() > SINGULAR:
        return torch.cholesky_solve(right.mT, factor).mT * unit
    return right @ inverse(gram, SINGULAR) * unit


def merge(taus: Taus, statistics: Tensor | None, off_diagonal: float = 0.9) -> Deltas:
    """taus [T, out, in] with Gram matrices [T, in, in], or the mean without;
    off_diagonal is the paper's a.
    """
    mean = total(taus) / len(taus)
    if statistics is None:
        return mean
    n = statistics.shape[-1]
    gram, away = (
        statistics.new_zeros(n, n, dtype=torch.float64),
        mean[0].new_zeros(mean[0].shape, dtype=torch.float64),
    )
    shrink = off_diagonal + (1 - off_diagonal) * torch.eye(
        n, dtype=torch.float64, device=gram.device
    )
    for tau, own in zip(taus, statistics, strict=True):
        own = own.double() * shrink
        gram += own
        away += (tau.double() - mean[0].double()) @ own
    return mean + solve(away, gram).to(mean)
