"""inverted: within each task the adaptive sparsities in reverse order.

The tensor that lost most loses least. See dealing.py for how the density is kept.
"""

import numpy as np

from tadrop.protocols.streams import Cuts, Sparsifier
from tadrop.sparsify.controls.dealing import reordered
from tadrop.sparsify.tadrop import TADrop


def deal(rule: TADrop, cuts: Cuts) -> Sparsifier:
    """The rule that gives the largest sparsity to the tensor that had the smallest."""
    return reordered(rule, cuts, _inverted)


def _inverted(task: str, sparsity: np.ndarray) -> np.ndarray:
    order = np.argsort(sparsity, kind="stable")
    inverted = np.empty_like(sparsity)
    inverted[order] = sparsity[order[::-1]]
    return inverted
