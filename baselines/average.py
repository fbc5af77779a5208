"""Weight averaging (model soups, arXiv 2203.05482): the mean of the models.

theta = theta0 + the mean of the task vectors, or their weighted mean.
It sees no data.
"""

import torch
from torch import Tensor

from tadrop.numerics.ops import compiled_total, total
from tadrop.types import Deltas, MatrixLayout, TadropError, Tau, Taus
from tadrop.vectors.arriving import Arriving, State


def merge(taus: Taus, weights: Tensor | None = None) -> Deltas:
    """The mean task vector.

    weights: [task], by which taus were multiplied; their sum divides
    """
    if weights is None:
        return total(taus) / len(taus)
    divisor = float(weights.double().sum())
    if abs(divisor) < 1e-8:
        raise TadropError(
            f"an average needs weights whose sum is not 0: {weights.tolist()}"
        )
    return total(taus) / divisor


def fused(taus: Taus) -> tuple[Deltas, None]:
    """merge() compiled."""
    return compiled_total(taus).div_(len(taus)), None


class Running(Arriving):
    """The mean of what has arrived: a sum, and a count."""

    def arrive(self, state: State, tau: Tau, layout: MatrixLayout) -> State:
        """See Arriving."""
        if not state:
            return {"sum": tau, "count": torch.tensor(1)}
        return {"sum": state["sum"] + tau, "count": state["count"] + 1}

    def merged(self, state: State, survey: object) -> Deltas:
        """See Arriving."""
        return (state["sum"] / state["count"])[None]
