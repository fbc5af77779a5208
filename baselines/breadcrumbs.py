"""Model Breadcrumbs (arXiv 2312.06795): the sum without outliers and small entries.

The lower cut is a sparsifier (conf/sparsify/breadcrumbs*.yaml) and has
run when this formula sees the task vectors, so TADrop can take its
place. The outlier cut is here and stays. Nothing is rescaled. It sees
no data.

Both cuts go by the word `by`. "row" cuts along the last axis, as the
authors' code does; "tensor" cuts over the whole tensor, which is the
paper's "layer". Counts are int(fraction * n) as in the code. A short
row therefore loses no outlier, and a tensor vanishes altogether where
the count of the lower cut is 0. A tensor without axes is left alone.
"""

import torch
from torch import Tensor

from tadrop.numerics.ops import largest, total
from tadrop.types import Deltas, TadropError, Taus

# Entries of a row from which on the kernel, which counts in 31 bits, does not serve.
LONGEST = 1 << 31


def merge(
    taus: Taus,
    outliers: float = 0.006,
    by: str = "row",
    weights: Tensor | None = None,
) -> Deltas:
    """The sum without each task's int(outliers * n) largest magnitudes.

    by:      row (n entries along the last axis) or tensor (n entries in all)
    weights: [task], by which taus were multiplied
    """
    runs = _runs(taus, by)
    if taus.dim() == 1:
        return total(taus)
    count = int(outliers * runs.shape[-1])
    outlying = largest(runs.abs(), count)
    return total(torch.where(outlying, 0, runs).view(taus.shape))


def _runs(taus: Taus, by: str) -> Tensor:
    """The task vectors by what outliers are counted in, [T, ..., n]."""
    if by not in ("row", "tensor"):
        raise TadropError(f"by is {by!r}; it must be row or tensor")
    return taus if by == "row" else taus.reshape(len(taus), -1)


def fused(
    taus: Taus,
    outliers: float = 0.006,
    by: str = "row",
) -> tuple[Deltas, None]:
    """merge() compiled."""
    runs = _runs(taus, by)
    size = runs.shape[-1]
    count = min(int(outliers * size), size)
    if taus.dim() == 1 or count <= 0 or size >= LONGEST:
        return merge(taus, outliers, by), None
    from tadrop.numerics.kernels import largest as kernels

    result = torch.empty_like(taus[:1])
    rows = runs.reshape(len(taus), -1, size).numpy()
    kernels.sum_without_largest(rows, count, result.view(-1, size).numpy())
    return result, None
