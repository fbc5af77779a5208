"""What controls share: as many entries of a task as TADrop keeps, dealt out anew.

Tensors differ in size, so dealing sparsities out anew changes the density. A task
therefore gets s ** gamma instead of s, with the one gamma that keeps exactly as many
entries of the task as the adaptive rule does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tadrop.numerics.quantile import spectrum
from tadrop.protocols.streams import Cuts
from tadrop.sparsify.rule import Rule
from tadrop.sparsify.tadrop import TADrop
from tadrop.sparsify.top_cut import TopCut, restored, top
from tadrop.types import Facts, Vector

# From a task and the sparsities of its vectors, the same sparsities in another order.
Order = Callable[[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Assigned(Rule):
    """Keeps the largest magnitudes of each vector, as many as the table says.

    kept: by (task, vector)
    """

    kept: Mapping[tuple[str, str], int]
    norm: str
    scope: str = "tensor"
    equals: str = "drawn"

    def plan(self, vector: Vector) -> TopCut:
        """See Sparsifier."""
        magnitudes = spectrum(vector)
        cut = top(vector, magnitudes, self.kept[vector.task, vector.name], self.equals)
        return restored(magnitudes, cut, self.norm)


def counted(cuts: Cuts) -> dict[tuple[str, str], Facts]:
    """The facts of cuts all of which can be counted, as those of TADrop can."""
    facts: dict[tuple[str, str], Facts] = {}
    for key, cut in cuts.items():
        told = cut.facts()
        assert told is not None, "TADrop's cuts are counted"
        facts[key] = told
    return facts


def reordered(rule: TADrop, cuts: Cuts, order: Order) -> Assigned:
    """The rule that gives each task its sparsities in another order."""
    kept: dict[tuple[str, str], int] = {}
    for task, facts in _by_task(counted(cuts)).items():
        sizes = np.array([fact.size for fact in facts.values()])
        counts = np.array([fact.kept for fact in facts.values()])
        dealt = _dealt(task, sizes, counts, order)
        for name, count in zip(facts, dealt.tolist(), strict=True):
            kept[task, name] = count
    return Assigned(kept, rule.norm, rule.scope, rule.equals)


def _by_task(facts: Mapping[tuple[str, str], Facts]) -> dict[str, dict[str, Facts]]:
    """The facts of each task's cuts, by task and then by vector."""
    tasks: dict[str, dict[str, Facts]] = {}
    for (task, name), fact in facts.items():
        tasks.setdefault(task, {})[name] = fact
    return tasks


def _dealt(
    task: str,
    sizes: np.ndarray,
    counts: np.ndarray,
    order: Order,
) -> np.ndarray:
    """Entries to keep of each of a task's vectors, [vector], from what TADrop keeps.

    They add up to the same number.
    """
    movable = sizes > 1  # a tensor of one entry is never cut
    sparsity = order(task, (1 - counts / sizes)[movable])
    dealt = counts.copy()
    total = int(counts[movable].sum())
    dealt[movable] = _matched(sparsity, sizes[movable], total)
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
