"""Model Breadcrumbs (arXiv 2312.06795): drop the largest outliers and the small
entries, sum what is between.

The lower cut is a sparsifier (conf/sparsify/breadcrumbs*.yaml) and has run when this
formula sees the task vectors, which is where TADrop takes its place; the outlier cut is
here and stays. by: row cuts along the last axis, as the authors' code does; tensor cuts
over the whole tensor, as the paper's "layer". Counts are int(fraction * n) as in the
code: a short row loses no outlier, and where the lower cut's count is 0 the whole
tensor vanishes. A tensor without axes is left alone. Nothing is rescaled.
"""

import torch

from tadrop.numerics.ops import largest, total
from tadrop.types import Deltas, TadropError, Taus


def merge(taus: Taus, outliers: float = 0.006, by: str = "row") -> Deltas:
    """The sum without each task's int(outliers * n) largest magnitudes, per row or per
    tensor.
    """
    if by not in ("row", "tensor"):
        raise TadropError(f"by is {by!r}; it must be row or tensor")
    if taus.dim() == 1:
        return total(taus)
    rows = taus if by == "row" else taus.flatten(1)
    count = int(outliers * rows.shape[-1])
    return total(torch.where(largest(rows.abs(), count), 0, rows).view(taus.shape))
