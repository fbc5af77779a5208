"""Task Arithmetic (arXiv 2212.04089): theta = theta0 + lambda * sum of the task
vectors; lambda comes later.
"""

from tadrop.numerics.ops import compiled_total, total
from tadrop.types import Deltas, Taus


def merge(taus: Taus) -> Deltas:
    """The sum of the task vectors."""
    return total(taus)


def fused(taus: Taus) -> tuple[Deltas, None]:
    """merge() compiled."""
    return compiled_total(taus), None
