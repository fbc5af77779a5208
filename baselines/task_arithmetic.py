"""Task Arithmetic (arXiv 2212.04089): the base plus a multiple of the summed vectors.

theta = theta0 + lambda * the sum of the task vectors. Lambda is the
row's scale, which is applied after the merge. The formula sees no data.
"""

from torch import Tensor

from tadrop.numerics.ops import compiled_total, total
from tadrop.types import Deltas, MatrixLayout, Tau, Taus
from tadrop.vectors.arriving import Arriving, State


def merge(taus: Taus, weights: Tensor | None = None) -> Deltas:
    """The sum of the task vectors.

    weights: [task], by which taus were multiplied
    """
    return total(taus)


def fused(taus: Taus) -> tuple[Deltas, None]:
    """merge() compiled."""
    return compiled_total(taus), None


class Running(Arriving):
    """The sum of what has arrived."""

    def arrive(self, state: State, tau: Tau, layout: MatrixLayout) -> State:
        """See Arriving."""
        return {"sum": state["sum"] + tau if state else tau}

    def merged(self, state: State, survey: object) -> Deltas:
        """See Arriving."""
        return state["sum"][None]
