"""DELLA-Merging (arXiv 2406.11617): MagPrune, elect, fuse.

MagPrune is a sparsifier (conf/sparsify/magprune.yaml) and has run when
this formula sees the task vectors, so TADrop can take its place. The
elected sign is that of the sum, where 0 counts as positive. Fusing
takes the mean of the tasks that agree. It sees no data.

The authors' row-adaptive and layer-adaptive variants pass an option
that their configuration lacks, and so equal this one.
"""

import torch
from torch import Tensor

from tadrop.numerics.ops import agreeing, total
from tadrop.types import Deltas, Taus


def merge(taus: Taus, weights: Tensor | None = None) -> Deltas:
    """Elect and fuse.

    weights: [task], by which taus were multiplied; those that agree divide
    """
    sign = torch.where(total(taus) >= 0, 1.0, -1.0).to(taus)
    agree = taus * sign > 0
    count = agreeing(agree, weights)
    return total(torch.where(agree, taus, 0)) / count


def fused(taus: Taus) -> tuple[Deltas, None]:
    """merge() compiled: the disjoint mean of TIES, where 0 counts as positive."""
    from tadrop.numerics.kernels import formulas as kernels

    result = torch.empty_like(taus[:1])
    flat = taus.view(len(taus), -1).numpy()
    kernels.ties(flat, 1.0, True, result.view(-1).numpy())
    return result, None
