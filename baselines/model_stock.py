"""Model Stock (arXiv 2403.19522): per tensor, how far to go from the base to the
average follows from the angle.

With cos the mean cosine between the T task vectors, the average is scaled by T cos / (1
+ (T - 1) cos). The paper derives it for models of one task, whose angles are acute; a
negative mean cosine is taken as 0 here (the tensor stays pretrained), where the formula
would overshoot or divide by zero. A task vector of zeros has cosine 0 with any other.
"""

import torch

from tadrop.numerics.ops import rows, total
from tadrop.types import Deltas, Taus


def ratio(taus: Taus) -> float:
    """t of the paper, in [0, 1]."""
    tasks = len(taus)
    if tasks == 1:
        return 1.0
    unit = torch.nn.functional.normalize(rows(taus).double(), dim=1)
    cosines = unit @ unit.T
    cos = max(
        float((cosines.sum() - cosines.diagonal().sum()) / (tasks * (tasks - 1))), 0.0
    )
    return tasks * cos / (1 + (tasks - 1) * cos)


def merge(taus: Taus) -> Deltas:
    """The mean task vector times t."""
    return total(taus) / len(taus) * ratio(taus)
