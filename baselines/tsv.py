"""Task Singular Vectors (arXiv 2412.00081): TSV-M merges into one model, TSV-C
compresses each task's vector.

Per matrix of min side r with T tasks, the k = int(r / T) leading singular triplets of
every task are kept. TSV-M puts them side by side, replaces the stacked left and right
vectors by their nearest orthonormal ones (so that tasks do not interfere) and
multiplies out; other tensors are averaged. TSV-C keeps the triplets as they are, task
by task, and every task its own other tensors. Where r < T, k is 0 and the matrix gets
no update at all, as in the authors' code.
Departure: dead directions (tadrop/linalg.py) contribute nothing, where the authors'
whitening depends on LAPACK.
"""

import torch

from tadrop.numerics.linalg import SVD, polar, svd
from tadrop.types import Deltas, LowRank, Taus


def leading(taus: Taus) -> SVD:
    """Every task's first int(r / T) triplets, [T, ...]."""
    return svd(taus).first(min(taus.shape[1:]) // len(taus))


def merge(taus: Taus) -> Deltas:
    """TSV-M of one matrix."""
    left, values, right = leading(taus)
    stacked = SVD(
        polar(torch.cat([*left], dim=1)), values.reshape(-1), polar(torch.cat([*right]))
    )
    return stacked.matrix().to(taus.dtype).unsqueeze(0)


def compress(taus: Taus) -> LowRank:
    """TSV-C of one matrix: thin factors, the singular values in the left one."""
    left, values, right = leading(taus)
    return LowRank((left * values.unsqueeze(1)).to(taus.dtype), right.to(taus.dtype))
