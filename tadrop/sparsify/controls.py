"""Controls for TADrop: the same number of entries kept, dealt out to the tensors by
another rule than the adaptive one.

uniform:  one keep for every tensor of every task, at the adaptive rule's overall density
inverted: within each task the adaptive sparsities in reverse order: the tensor that
lost most loses least
shuffled: within each task the adaptive sparsities in a random order, seeded by (seed,
task)

Tensors differ in size, so dealing sparsities out anew changes the density. An inverted
or shuffled task therefore gets s ** gamma instead of s, with the one gamma that keeps
exactly as many entries of the task as the adaptive rule does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tadrop.numerics.quantile import spectrum
from tadrop.numerics.seeds import generator
from tadrop.numerics.top_cut import TopCut, restored, top
from tadrop.protocols import Cut, Sparsifier
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.tadrop import TADrop
from tadrop.types import Vector

Place = tuple[str, str]  # task, vector


@dataclass(frozen=True)
class Assigned:
    """Keeps the largest magnitudes of each vector, as many as the table says."""

    kept: Mapping[Place, int]
    norm: str
    scope: str = "tensor"

    def plan(self, vector: Vector) -> TopCut:
        count = self.kept[vector.task, vector.name]
        magnitudes = spectrum(vector)
        return restored(magnitudes, top(magnitudes, count), self.norm)


def control(rule: TADrop, cuts: Mapping[Place, Cut]) -> Sparsifier:
    """The rule that stands in for the adaptive one whose cuts are given."""
    facts = {place: cut.facts() for place, cut in cuts.items()}
    if rule.assign == "uniform":
        keep = sum(f["kept"] for f in facts.values()) / sum(
            f["size"] for f in facts.values()
        )
        return Magnitude(keep, norm=rule.norm, scope=rule.scope)
    kept: dict[Place, int] = {}
    for task in dict.fromkeys(task for task, _ in facts):
        names = [name for t, name in facts if t == task]
        sizes = np.array([int(facts[task, name]["size"]) for name in names])
        counts = np.array([int(facts[task, name]["kept"]) for name in names])
        dealt = _deal(rule, task, names, sizes, counts)
        kept |= {
            (task, name): int(count) for name, count in zip(names, dealt, strict=True)
        }
    return Assigned(kept, rule.norm, rule.scope)


def _deal(
    rule: TADrop, task: str, names: Sequence[str], sizes: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Entries to keep of each of a task's vectors, [vector]; they add up to what the
    adaptive rule keeps.
    """
    movable = sizes > 1  # a tensor of one entry is never cut
    sparsity = (1 - counts / sizes)[movable]
    order = np.argsort(sparsity, kind="stable")
    new = np.empty_like(sparsity)
    if rule.assign == "inverted":
        new[order] = sparsity[order[::-1]]
    else:
        new = generator("shuffled", rule.seed, task).permutation(sparsity)
    dealt = counts.copy()
    dealt[movable] = _matched(new, sizes[movable], int(counts[movable].sum()))
    return dealt


def _matched(sparsity: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Counts of s ** gamma with the gamma that makes them add up to total, at least one
    each.
    """

    def counts(gamma: float) -> np.ndarray:
        return np.maximum(sizes - np.floor(sparsity**gamma * sizes).astype(np.int64), 1)

    low, high = -12.0, 12.0  # log2 of gamma: more gamma, more kept
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if counts(2**middle).sum() < total else (low, middle)
    found = counts(2**high)
    missing = total - int(found.sum())
    for at in np.argsort(
        -sizes, kind="stable"
    ):  # what rounding left over goes to the largest tensors
        step = int(np.clip(found[at] + missing, 1, sizes[at])) - int(found[at])
        found[at] += step
        missing -= step
    return found
