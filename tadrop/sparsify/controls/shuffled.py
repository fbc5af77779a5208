"""shuffled: within each task the adaptive sparsities in a random order.

The order is seeded by (seed, task). See dealing.py for how the density is kept.
"""

import numpy as np

from tadrop.numerics.seeds import generator
from tadrop.protocols.streams import Cuts, Sparsifier
from tadrop.sparsify.controls.dealing import reordered
from tadrop.sparsify.tadrop import TADrop


def deal(rule: TADrop, cuts: Cuts) -> Sparsifier:
    """The rule that gives each tensor the sparsity of another one."""

    def shuffled(task: str, sparsity: np.ndarray) -> np.ndarray:
        return generator("shuffled", rule.seed, task).permutation(sparsity)

    return reordered(rule, cuts, shuffled)
