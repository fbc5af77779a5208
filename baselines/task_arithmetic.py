"""Task Arithmetic (arXiv 2212.04089): theta = theta0 + lambda * sum of the task vectors; lambda comes later."""

from tadrop.ops import total
from tadrop.types import Deltas, Taus


def merge(taus: Taus) -> Deltas:
    """The sum of the task vectors."""
    return total(taus)
