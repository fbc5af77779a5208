"""Weight averaging (model soups, arXiv 2203.05482): the mean of the models.

theta = theta0 + the mean of the task vectors. It sees no data.
"""

from tadrop.numerics.ops import compiled_total, total
from tadrop.types import Deltas, Taus


def merge(taus: Taus) -> Deltas:
    """The mean task vector."""
    return total(taus) / len(taus)


def fused(taus: Taus) -> tuple[Deltas, None]:
    """merge() compiled."""
    return compiled_total(taus).div_(len(taus)), None
