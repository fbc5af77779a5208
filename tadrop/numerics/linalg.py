"""Singular vectors and polar factors for per-matrix methods.

There is one stable routine, defined on degenerate input too. Everything is computed in
float64, whatever comes in (float16 included), and batches over leading axes. A
direction is *dead* where its singular value is below a rounding error of the largest,
so a zero matrix is dead altogether. LAPACK completes dead directions as it likes,
differently on each machine; here their singular vectors and values are zero, so that a
dead direction contributes nothing. The authors' codes leave the choice to LAPACK; the
two agree wherever a matrix has full rank.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


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


def svd(matrix: Float[Tensor, "*batch m n"]) -> SVD:
    """The thin singular value decomposition in float64, dead directions zeroed."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    rounding = max(matrix.shape[-2:]) * torch.finfo(torch.float64).eps
    alive = values > values[..., :1] * rounding
    return SVD(left * alive.unsqueeze(-2), values * alive, right * alive.unsqueeze(-1))


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
