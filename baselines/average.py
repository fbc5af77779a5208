"""Weight averaging (model soups, arXiv 2203.05482): the mean of the models.

theta = theta0 + the mean of the task vectors, or their weighted mean.
It sees no data.
"""

from torch import Tensor

from tadrop.numerics.ops import compiled_total, total
from tadrop.types import Deltas, TadropError, Taus


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
