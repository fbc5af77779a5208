"""RegMean (arXiv 2212.09849): the least-squares fit to every model's outputs.

Per weight matrix,

    W = (sum_t W_t G_t) (sum_t G_t)^-1

where the Gram matrix G_t = X_t^T X_t is of the matrix's inputs on task
t, its entries off the diagonal times a. On task vectors this is theta0
plus the same expression of the taus. Tensors without a Gram matrix
(biases, norms, embeddings, convolutions) are averaged, as in the
authors' code. Where sum_t G_t is singular, directions that no input has
take the mean of the task vectors.

Data: some training inputs of every task, without labels. They are seen
at the product itself (tadrop/modules/taps.py), so that fused
projections and GPT-2's Conv1D need no case of their own.

A Gram matrix is divided by the number of rows of X, which are tokens,
as the authors and the ports do. To divide by the number of examples
instead, which is an option, is the same where all tasks have as many
tokens an example, as images do. With texts it weighs long ones more.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tadrop.modules import batches as batching
from tadrop.modules.taps import Product, tapped
from tadrop.numerics.linalg import inverse
from tadrop.numerics.ops import total
from tadrop.types import Deltas, Slot, TadropError, Taus

SINGULAR = 1e-7  # of the largest: what float32 Gram matrices cannot tell from 0


@torch.no_grad()
def gram(
    module: nn.Module,
    batches: Iterator[Any],
    slots: Mapping[str, Slot],
    per: str = "token",
) -> dict[str, Tensor]:
    """X^T X [in, in] of every merged weight matrix, summed over tokens.

    per: what it is divided by, the number of tokens (token) or of
         examples (example)
    """
    if per not in ("token", "example"):
        raise TadropError(f"per is {per!r}; it must be token or example")
    sums: dict[str, Tensor] = {}
    tokens = Counter[str]()
    examples = 0

    def visit(product: Product, output: Tensor) -> Tensor:
        x = product.inputs.reshape(-1, product.inputs.shape[-1])
        sums[product.weight] = sums.get(product.weight, 0) + x.T @ x
        tokens[product.weight] += len(x)
        return output

    with tapped(module, slots, visit):
        for inputs in batches:
            # With padding, a Gram matrix would say how a batch was put together.
            for part in batching.unpadded(inputs):
                module(part)
            examples += batching.count(inputs)
    grams = {}
    for name, matrix in sums.items():
        grams[name] = matrix / (tokens[name] if per == "token" else examples)
    return grams


def solve(right: Tensor, gram: Tensor) -> Tensor:
    """right @ gram^-1, or the pseudo-inverse where gram is singular to float32.

    Inputs are brought to one scale first, so that a quiet neuron is not
    taken for a dead one.
    """
    loudness = gram.diagonal().sqrt()
    unit = torch.where(loudness > 0, 1 / loudness, 0)
    right, gram = right * unit, gram * unit * unit.unsqueeze(1)
    factor, failed = torch.linalg.cholesky_ex(gram)
    pivots = factor.diagonal().square()
    if int(failed) == 0 and pivots.min() > SINGULAR:
        return torch.cholesky_solve(right.mT, factor).mT * unit
    return right @ inverse(gram, SINGULAR) * unit


def merge(
    taus: Taus,
    statistics: Tensor | None,
    off_diagonal: float = 0.9,
) -> Deltas:
    """One weight matrix, or the mean of a tensor without statistics.

    taus:         [T, out, in]
    statistics:   the Gram matrices, [T, in, in], or None
    off_diagonal: the paper's a
    """
    mean = total(taus) / len(taus)
    if statistics is None:
        return mean
    n = statistics.shape[-1]
    eye = torch.eye(n, dtype=torch.float64, device=statistics.device)
    shrink = off_diagonal + (1 - off_diagonal) * eye
    gram = torch.zeros_like(eye)
    away = torch.zeros_like(mean[0], dtype=torch.float64)
    for tau, own in zip(taus, statistics, strict=True):
        shrunk = own.double() * shrink
        gram += shrunk
        away += (tau.double() - mean[0].double()) @ shrunk
    return mean + solve(away, gram).to(mean)
