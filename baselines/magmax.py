"""MagMax (arXiv 2407.06322): per entry, the task vector of the largest magnitude.

It sees no data.

Departure from the authors' code: of two equal magnitudes of opposite
sign the positive one is taken, so that the order of the tasks does not
matter. The authors' loop keeps whichever came last.
"""

import torch
from torch import Tensor

from tadrop.types import Deltas, Taus


def merge(taus: Taus, weights: Tensor | None = None) -> Deltas:
    """The entry of largest magnitude over the tasks.

    weights: [task], by which taus were multiplied
    """
    highest = taus.amax(0, keepdim=True)
    lowest = taus.amin(0, keepdim=True)
    return torch.where(highest >= -lowest, highest, lowest)
