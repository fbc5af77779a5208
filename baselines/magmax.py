"""MagMax (arXiv 2407.06322): per entry, the task vector with the largest magnitude.

Of two equal magnitudes of opposite sign the positive one is taken, so that the order of
tasks does not matter; the authors' loop keeps whichever came last.
"""

import torch

from tadrop.types import Deltas, Taus


def merge(taus: Taus) -> Deltas:
    """The entry of largest magnitude over tasks."""
    most, least = taus.amax(0, keepdim=True), taus.amin(0, keepdim=True)
    return torch.where(most >= -least, most, least)
