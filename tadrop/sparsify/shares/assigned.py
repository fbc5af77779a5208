"""The rule that keeps as many entries of each vector as a table says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tadrop.numerics.quantile import spectrum
from tadrop.protocols.streams import Cuts
from tadrop.sparsify.rule import Rule
from tadrop.sparsify.top_cut import TopCut, restored, top
from tadrop.types import Facts, Vector

# What is kept of every vector, by (task, vector).
Table = Mapping[tuple[str, str], Facts]


@dataclass(frozen=True)
class Assigned(Rule):
    """Keeps the largest magnitudes of each vector, as many as the table says."""

    table: Table
    norm: str
    scope: str = "tensor"
    equals: str = "drawn"

    def plan(self, vector: Vector) -> TopCut:
        """See Sparsifier."""
        wanted = self.table[vector.task, vector.name]
        magnitudes = spectrum(vector)
        cut = top(vector, magnitudes, wanted.kept, self.equals)
        return restored(magnitudes, replace(cut, ratio=wanted.ratio), self.norm)


def counted(cuts: Cuts) -> dict[tuple[str, str], Facts]:
    """The facts of cuts all of which can be counted, as those of TADrop can."""
    facts: dict[tuple[str, str], Facts] = {}
    for key, cut in cuts.items():
        told = cut.facts()
        assert told is not None, "TADrop's cuts are counted"
        facts[key] = told
    return facts


def movable(facts: Iterable[Facts]) -> np.ndarray:
    """Which vectors can lose entries, [vector] bool.

    A tensor of one entry is never cut, and one of zeros has nothing to lose.
    """
    return np.array([one.size > 1 and not one.zeros for one in facts])


def by_task(table: Table) -> dict[str, dict[str, Facts]]:
    """The table of each task, by task and then by vector."""
    tasks: dict[str, dict[str, Facts]] = {}
    for (task, name), fact in table.items():
        tasks.setdefault(task, {})[name] = fact
    return tasks
