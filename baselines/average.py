"""Weight averaging: theta = theta0 + mean of the task vectors (model soups, arXiv 2203.05482)."""

from tadrop.ops import total
from tadrop.types import Deltas, Taus


def merge(taus: Taus) -> Deltas:
    """The mean task vector."""
    return total(taus) / len(taus)
