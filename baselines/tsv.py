"""Task Singular Vectors (arXiv 2412.00081): TSV-M merges, TSV-C compresses.

Per matrix of smaller side r with T tasks, the k = int(r / T) leading
singular triplets of every task are kept. TSV-M puts them side by side,
replaces the stacked left and right vectors by their nearest orthonormal
ones (so that tasks do not interfere) and multiplies out; other tensors
are averaged. TSV-C keeps the triplets as they are, task by task, and
every task keeps its own other tensors. Where r < T, k is 0 and the
matrix gets no update at all, as in the authors' code. They see no data.

Departure: dead directions (tadrop/numerics/linalg.py) contribute
nothing, where the authors' whitening depends on LAPACK.
"""

import torch

from tadrop.numerics.linalg import SVD, polar, svd
from tadrop.types import Deltas, LowRank, Taus


def leading(taus: Taus) -> SVD:
    """Every task's first int(r / T) triplets, [T, ...]."""
    return svd(taus, min(taus.shape[1:]) // len(taus))


def merge(taus: Taus) -> Deltas:
    """TSV-M of one matrix."""
    left, values, right = leading(taus)
    across = polar(torch.cat([*left], dim=1))
    along = polar(torch.cat([*right]))
    stacked = SVD(across, values.reshape(-1), along)
    return stacked.matrix().to(taus.dtype).unsqueeze(0)


def compress(taus: Taus) -> LowRank:
    """TSV-C of one matrix: thin factors, the singular values in the left one."""
    left, values, right = leading(taus)
    scaled = left * values.unsqueeze(1)
    return LowRank(scaled.to(taus.dtype), right.to(taus.dtype))
