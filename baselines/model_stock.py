"""Model Stock (arXiv 2403.19522): the angle between models says how far to go.

Per tensor the average of the T task vectors is scaled by

    t = T cos / (1 + (T - 1) cos)

where cos is the mean cosine between them. A task vector of zeros has
cosine 0 with any other. It sees no data.

Departure: the paper derives t for models of one task, whose angles are
acute. A negative mean cosine is taken as 0 here, so that the tensor
stays pretrained, where the formula would overshoot or divide by 0.
"""

import torch

from tadrop.numerics.ops import rows, total
from tadrop.types import Deltas, Taus


def ratio(taus: Taus) -> float:
    """The paper's t, in [0, 1]."""
    tasks = len(taus)
    if tasks == 1:
        return 1.0
    unit = torch.nn.functional.normalize(rows(taus).double(), dim=1)
    cosines = unit @ unit.T
    others = cosines.sum() - cosines.diagonal().sum()
    mean = max(float(others / (tasks * (tasks - 1))), 0.0)
    return tasks * mean / (1 + (tasks - 1) * mean)


def merge(taus: Taus) -> Deltas:
    """The mean task vector times t."""
    return total(taus) / len(taus) * ratio(taus)
