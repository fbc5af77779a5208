"""Isotropic merging (arXiv 2502.04959): one singular value for all directions.

Iso-C flattens the spectrum of the sum of task vectors to its mean.
Iso-CTS keeps the sum's first directions (the fraction `common`) and
fills the rest with each task's leading directions outside that
subspace, an equal number per task. Other tensors are averaged. They see
no data.

Iso-CTS rounds the number of directions per task as the authors' code
does: where fewer than T / 2 directions are left for the tasks it is 0,
and Iso-CTS is Iso-C. Where it would round up to more directions than a
matrix has it is rounded down, which never happens at 0.8.

Departure: dead directions (tadrop/numerics/linalg.py) stay dead, where
the authors' code raises whatever LAPACK completes them with to the mean
singular value. What the rounding of weights leaves in differences of
low rank (LoRA) is no dead direction to either code, and is raised.
"""

import torch

from tadrop.numerics.linalg import SVD, polar, svd
from tadrop.numerics.ops import total
from tadrop.types import Deltas, TadropError, Taus


def merge(taus: Taus) -> Deltas:
    """Iso-C of one matrix."""
    left, values, right = svd(total(taus)[0])
    return (values.mean() * (left @ right)).to(taus.dtype).unsqueeze(0)


def merge_cts(taus: Taus, common: float = 0.8) -> Deltas:
    """Iso-CTS of one matrix. common: the fraction of directions taken from the sum."""
    if not 0 <= common <= 1:
        raise TadropError(
            f"common is {common}; it is a fraction of directions and must be in [0, 1]"
        )
    tasks, r = len(taus), min(taus.shape[1:])
    per_task = min(round((r - int(common * r)) / tasks), r // tasks)
    shared = svd(total(taus)[0], r - per_task * tasks)
    vectors = taus.double()
    outside = vectors - shared.left @ (shared.left.mT @ vectors)
    own = svd(outside, per_task)
    values = torch.cat([own.values.reshape(-1), shared.values])
    left = polar(torch.cat([*own.left, shared.left], dim=1))
    right = polar(torch.cat([*own.right, shared.right]))
    flat = SVD(left, values.mean().expand_as(values), right)
    return flat.matrix().to(taus.dtype).unsqueeze(0)
