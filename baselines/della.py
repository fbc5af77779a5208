"""DELLA-Merging (arXiv 2406.11617): MagPrune, elect, fuse.

MagPrune is a sparsifier (conf/sparsify/magprune.yaml) and has run when
this formula sees the task vectors, so TADrop can take its place. The
elected sign is that of the sum, where 0 counts as positive. Fusing
takes the mean of the tasks that agree. Weights are 1, the authors'
default. It sees no data.

The authors' row-adaptive and layer-adaptive variants pass an option
that their configuration lacks, and so equal this one.
"""

import torch

from tadrop.numerics.ops import total
from tadrop.types import Deltas, Taus


def merge(taus: Taus) -> Deltas:
    """Elect and fuse."""
    sign = torch.where(total(taus) >= 0, 1.0, -1.0).to(taus)
    agree = taus * sign > 0
    count = agree.sum(0, keepdim=True).clamp(min=1)
    return total(torch.where(agree, taus, 0)) / count
