"""MagMax (arXiv 2407.06322): per entry, the task vector of the largest magnitude.

It sees no data.

Departure from the authors' code: of two equal magnitudes of opposite
sign the positive one is taken, so that the order of the tasks does not
matter. The authors' loop keeps whichever came last.
"""

import torch
from torch import Tensor

from tadrop.types import Deltas, MatrixLayout, Tau, Taus
from tadrop.vectors.arriving import Arriving, State


def merge(taus: Taus, weights: Tensor | None = None) -> Deltas:
    """The entry of largest magnitude over the tasks.

    weights: [task], by which taus were multiplied
    """
    highest = taus.amax(0, keepdim=True)
    lowest = taus.amin(0, keepdim=True)
    return torch.where(highest >= -lowest, highest, lowest)


class Running(Arriving):
    """The largest entries of what has arrived."""

    def arrive(self, state: State, tau: Tau, layout: MatrixLayout) -> State:
        """See Arriving."""
        if not state:
            return {"largest": tau}
        return {"largest": merge(torch.stack([state["largest"], tau]))[0]}

    def merged(self, state: State, survey: object) -> Deltas:
        """See Arriving."""
        return state["largest"][None]
