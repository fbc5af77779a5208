"""MagMax (arXiv 2407.06322): per entry, the task vector of the largest magnitude.

It sees no data.

Departure from the authors' code: of two equal magnitudes of opposite
sign the positive one is taken, so that the order of the tasks does not
matter. The authors' loop keeps whichever came last.
"""

import torch

from tadrop.types import Deltas, Taus


def merge(taus: Taus) -> Deltas:
    """The entry of largest magnitude over the tasks."""
    highest = taus.amax(0, keepdim=True)
    lowest = taus.amin(0, keepdim=True)
    return torch.where(highest >= -lowest, highest, lowest)
