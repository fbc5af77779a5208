"""MagPrune, DELLA's random drop (arXiv 2406.11617): large entries stay more likely.

A matrix row of n entries, along the last axis, is ranked by ascending magnitude (equal
ones by index); rank r stays with probability q = keep - window / 2 + window * r /
(n - 1) and is divided by q. keep is 1 - the paper's drop rate. A row of one entry stays
with probability keep (the authors' code divides 0 by 0); tensors of any number of axes
are taken by their last, where that code knows one or two. The draw of an entry depends
on (seed, task, tensor name, index) alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tadrop.protocols.streams import Cut
from tadrop.sparsify.random_cut import draws
from tadrop.sparsify.rule import Rule
from tadrop.types import TadropError, Tau, Vector, check_keep, check_scope


@dataclass(frozen=True)
class RankCut(Cut):
    """Keeps entries by a draw against a probability that grows with the rank.

    A piece holds whole matrix rows.
    """

    words: tuple[object, ...]
    row: int
    keep: float
    window: float

    def probabilities(self, rows: Tensor) -> Tensor:
        """q of every entry, [matrix row, row], float64."""
        if self.row == 1:
            return torch.full_like(rows, self.keep, dtype=torch.float64)
        ranks = rows.abs().argsort(dim=1, stable=True).argsort(dim=1)
        lowest = self.keep - self.window / 2
        return lowest + self.window * ranks.double() / (self.row - 1)

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        """See Cut."""
        rows = tau.reshape(-1, self.row)
        q = self.probabilities(rows)
        drawn = draws(self.words, start, tau.numel(), tau.device).view(rows.shape)
        stays = drawn < q * 2**32
        return torch.where(stays, rows / q.to(rows.dtype), 0).view(tau.shape)


@dataclass(frozen=True)
class MagPrune(Rule):
    """keep -/+ window / 2 are the probabilities of a row's smallest and largest entry."""

    keep: float
    window: float
    seed: int
    scope: str = "tensor"

    def __post_init__(self) -> None:
        check_keep(self.keep)
        check_scope(self.scope, ("tensor",))
        least = self.keep - self.window / 2
        most = self.keep + self.window / 2
        if self.window < 0 or least <= 0 or most > 1:
            raise TadropError(
                f"keep is {self.keep} and window is {self.window}; "
                "keep - window / 2 and keep + window / 2 are probabilities "
                "and must be in (0, 1]"
            )

    @property
    def by_rows(self) -> bool:
        return True

    def plan(self, vector: Vector) -> RankCut:
        """See Sparsifier."""
        words = ("magprune", self.seed, vector.task, vector.name)
        row = max(vector.shape[-1], 1) if vector.shape else 1
        return RankCut(words, row, self.keep, self.window)
