"""A density D that is set, shared out among the vectors of a task by their sparsities.

The paper (arXiv 2508.06163) sets no density; this is our own, to compare adaptive and
other rules at one. Without it a vector of n entries keeps the share w = 1 - s that its
ratio says. With it the share is c w, at most 1, with one c for the whole task vector:

    k = min(ceil(c w n), n), at least 1;  c such that the k add up to round(D N)

where N counts the entries of all vectors of more than one entry, but for those that are
all zero. The sum grows with c, which is found by bisection from the ratios alone; what a
whole vector cannot take goes to the others. So the order of the vectors by ratio stays,
c = 1 is TADrop without a density, equal ratios are uniform, and what stays at one density
stays at a larger one.
"""

from collections.abc import Callable

import numpy as np

from tadrop.protocols.streams import Cuts
from tadrop.sparsify.shares.assigned import by_task, counted, movable
from tadrop.types import Facts

# The least weight. A vector whose ratio leaves it nothing (w = 0) is served last.
LEAST = 1e-9
# Halvings of the range of c, to neighbouring floats.
HALVINGS = 200

# From a task and the sparsities of its vectors, the same sparsities in another order.
Order = Callable[[str, np.ndarray], np.ndarray]


def as_found(task: str, sparsity: np.ndarray) -> np.ndarray:
    """The adaptive order: every vector has the sparsity of its own ratio."""
    return sparsity


def even(task: str, sparsity: np.ndarray) -> np.ndarray:
    """No order: the same sparsity for every vector."""
    return np.zeros_like(sparsity)


def allotted(weights: np.ndarray, sizes: np.ndarray, density: float) -> np.ndarray:
    """Entries to keep of each vector, [vector] int64; see above.

    weights: w of each vector, [vector] in [0, 1]; sizes: entries of each, [vector]
    They add up to round(density * all entries), or are one each where that is less.
    """
    weights = np.maximum(weights, LEAST)

    def kept(scale: float) -> np.ndarray:
        counts = np.ceil(np.minimum(scale * weights, 1) * sizes)
        return np.maximum(counts, 1).astype(np.int64)

    total = round(density * int(sizes.sum()))
    low, high = 0.0, 2 / LEAST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if kept(middle).sum() <= total:
            low = middle
        else:
            high = middle
    counts = kept(low)
    # Several vectors may reach their next entry at the same c: the heaviest come first.
    missing = max(total - int(counts.sum()), 0)
    (reached,) = np.nonzero(kept(high) > counts)
    first = np.argsort(-weights[reached], kind="stable")[:missing]
    counts[reached[first]] += 1
    return counts


def shared(
    cuts: Cuts,
    sparsity: Callable[[float], float],
    density: float,
    order: Order = as_found,
    of_all: bool = False,
) -> dict[tuple[str, str], Facts]:
    """What every vector keeps, by (task, vector), at this density of each task.

    cuts:     those of TADrop, of which the sizes and the ratios are read
    sparsity: from a ratio
    order:    of a task's sparsities over its vectors
    of_all:   the density is of the entries of all vectors, those that are all zero among
              them, which keep none of it
    """
    table: dict[tuple[str, str], Facts] = {}
    for task, found in by_task(counted(cuts)).items():
        facts = list(found.values())
        sizes = np.array([fact.size for fact in facts])
        sparsities = np.array([sparsity(fact.ratio or 0.0) for fact in facts])
        kept = sizes.copy()
        moved = movable(facts)
        weights = 1 - order(task, sparsities[moved])
        whole = sizes.sum() / sizes[moved].sum() if of_all and any(moved) else 1.0
        kept[moved] = allotted(weights, sizes[moved], min(density * whole, 1.0))
        for name, fact, count in zip(found, facts, kept.tolist(), strict=True):
            table[task, name] = fact._replace(kept=count)
    return table
