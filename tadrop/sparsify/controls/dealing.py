"""What controls share: as many entries of a task as TADrop keeps, dealt out anew.

Tensors differ in size, so dealing sparsities out anew changes the density. A task
therefore gets s ** gamma instead of s, with the one gamma that keeps exactly as many
entries of the task as the adaptive rule does. Where a density is set, its one c does
that instead (shares/density.py).
"""

from collections.abc import Sequence

import numpy as np

from tadrop.protocols.streams import Cuts, Sparsifier
from tadrop.sparsify.shares.assigned import Assigned, by_task, counted, movable
from tadrop.sparsify.shares.density import Order
from tadrop.sparsify.tadrop import TADrop
from tadrop.types import Facts


def reordered(rule: TADrop, cuts: Cuts, order: Order) -> Sparsifier:
    """The rule that gives each task its sparsities in another order."""
    if rule.density is not None:
        return rule.keeping(rule.shared(cuts, order))
    table: dict[tuple[str, str], Facts] = {}
    for task, facts in by_task(counted(cuts)).items():
        dealt = _dealt(task, list(facts.values()), order)
        for name, count in zip(facts, dealt.tolist(), strict=True):
            table[task, name] = Facts(facts[name].size, count, factor=1.0)
    return Assigned(table, rule.norm, rule.scope, rule.equals)


def _dealt(task: str, facts: Sequence[Facts], order: Order) -> np.ndarray:
    """Entries to keep of each of a task's vectors, [vector], from what TADrop keeps.

    They add up to the same number.
    """
    sizes = np.array([fact.size for fact in facts])
    counts = np.array([fact.kept for fact in facts])
    moved = movable(facts)
    sparsity = order(task, (1 - counts / sizes)[moved])
    dealt = counts.copy()
    dealt[moved] = _matched(sparsity, sizes[moved], int(counts[moved].sum()))
    return dealt


def _matched(sparsity: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Counts of s ** gamma, at least one each, with the gamma that adds up to total."""

    def counts(gamma: float) -> np.ndarray:
        dropped = np.floor(sparsity**gamma * sizes).astype(np.int64)
        return np.maximum(sizes - dropped, 1)

    low, high = -12.0, 12.0  # log2 of gamma: more gamma, more kept
    for _ in range(60):
        middle = (low + high) / 2
        if counts(2**middle).sum() < total:
            low = middle
        else:
            high = middle
    kept = counts(2**high)
    missing = total - int(kept.sum())
    # What rounding left over goes to the largest tensors.
    for index in np.argsort(-sizes, kind="stable"):
        count = int(np.clip(kept[index] + missing, 1, sizes[index]))
        missing -= count - int(kept[index])
        kept[index] = count
    return kept
