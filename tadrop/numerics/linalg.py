"""Singular vectors and polar factors for per-matrix methods.

There is one stable routine, defined on degenerate input too. Everything is computed in
float64, whatever comes in (float16 included), and batches over leading axes. A
direction is *dead* where its singular value is below a rounding error of the largest,
so a zero matrix is dead altogether. LAPACK completes dead directions as it likes,
differently on each machine; here their singular vectors and values are zero, so that a
dead direction contributes nothing. The authors' codes leave the choice to LAPACK; the
two agree wherever a matrix has full rank.

Where every direction that is asked for is well above rounding, as it is in weights that
were trained, the eigenvectors of the smaller Gram matrix give the same to about 1e-8 of
the largest value in a fraction of the time. Everywhere else it is LAPACK's singular
value decomposition.
"""

from functools import partial
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tadrop.numerics.threads import in_order

# The least share of the largest singular value down to which a Gram matrix, whose
# eigenvalues are squares, tells directions apart: an error of eps / SAFE**2, about 1e-8.
SAFE = 1e-4
# Entries of a batch from which its matrices are shared out among threads.
SHARED = 1 << 18


class SVD(NamedTuple):
    """matrix = left @ diag(values) @ right, thin; r = min(m, n), values descending."""

    left: Float[Tensor, "*batch m r"]
    values: Float[Tensor, "*batch r"]
    right: Float[Tensor, "*batch r n"]

    def first(self, k: int) -> "SVD":
        """The k leading triplets."""
        return SVD(self.left[..., :k], self.values[..., :k], self.right[..., :k, :])

    def matrix(self) -> Tensor:
        """The product, float64."""
        return (self.left * self.values.unsqueeze(-2)) @ self.right


def svd(matrix: Float[Tensor, "*batch m n"], count: int | None = None) -> SVD:
    """The thin singular value decomposition in float64, dead directions zeroed.

    count: of the leading triplets that are wanted; None: all min(m, n)
    """
    *batch, m, n = matrix.shape
    wanted = min(m, n) if count is None else min(count, m, n)
    if len(batch) == 0:
        return _decomposed(matrix, wanted)
    singles = matrix.reshape(prod(batch), m, n)
    is_shared = matrix.device.type == "cpu" and matrix.numel() >= SHARED
    threads = torch.get_num_threads() if is_shared else 1
    left = matrix.new_empty(len(singles), m, wanted, dtype=torch.float64)
    values = matrix.new_empty(len(singles), wanted, dtype=torch.float64)
    right = matrix.new_empty(len(singles), wanted, n, dtype=torch.float64)
    results = in_order(partial(_decomposed, count=wanted), singles, threads)
    for index, result in enumerate(results):
        left[index], values[index], right[index] = result
    return SVD(
        left.view(*batch, m, wanted),
        values.view(*batch, wanted),
        right.view(*batch, wanted, n),
    )


def _decomposed(matrix: Float[Tensor, "m n"], count: int) -> SVD:
    """The leading triplets of one matrix."""
    matrix = matrix.double()
    if count > 0:
        found = _by_gram(matrix, count)
        if found is not None:
            return found
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rounding = max(matrix.shape) * torch.finfo(torch.float64).eps
    alive = values > values[:1] * rounding
    return SVD(left * alive, values * alive, right * alive.unsqueeze(1)).first(count)


def _by_gram(matrix: Float[Tensor, "m n"], count: int) -> SVD | None:
    """The same from the eigenvectors of the smaller Gram matrix.

    None where one of the directions is not well above rounding.
    """
    m, n = matrix.shape
    if m > n:
        turned = _by_gram(matrix.mT, count)
        if turned is None:
            return None
        return SVD(turned.right.mT, turned.values, turned.left.mT)
    squares, vectors = torch.linalg.eigh(matrix @ matrix.mT)
    leading = squares[-count:].flip(0)
    if not leading[-1] > leading[0] * SAFE**2:
        return None
    left = vectors[:, -count:].flip(1)
    values = leading.sqrt()
    return SVD(left, values, left.mT @ matrix / values.unsqueeze(1))


def polar(matrix: Float[Tensor, "*batch m n"]) -> Float[Tensor, "*batch m n"]:
    """The nearest matrix with orthonormal columns (or rows), float64.

    It is a partial isometry where directions are dead.
    """
    left, _, right = svd(matrix)
    return left @ right


def inverse(
    gram: Float[Tensor, "n n"],
    relative: float = 1e-10,
) -> Float[Tensor, "n n"]:
    """The pseudo-inverse of a symmetric positive semidefinite matrix, float64.

    Eigenvalues below relative * largest are dead.
    """
    values, vectors = torch.linalg.eigh(gram.double())
    alive = values > values.amax().clamp(min=0) * relative
    inverses = torch.where(alive, 1 / torch.where(alive, values, 1), 0)
    return (vectors * inverses) @ vectors.mT
