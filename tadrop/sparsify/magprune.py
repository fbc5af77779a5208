"""MagPrune, DELLA's random drop (arXiv 2406.11617): the larger an entry in its row, the
likelier it stays.

A row of n entries, along the last axis, is ranked by ascending magnitude (equal ones by
index); rank r stays with probability q = keep - window / 2 + window * r / (n - 1) and
is divided by q. keep is 1 - the paper's drop rate. A row of one entry stays with
probability keep (the authors' code divides 0 by 0); tensors of any number of axes are
taken by their last, where that code knows one or two. The draw of an entry depends on
(seed, task, tensor name, index) alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tadrop.protocols import Cut
from tadrop.sparsify.cut import draws
from tadrop.types import TadropError, Tau, Vector, check_keep, check_scope


@dataclass(frozen=True)
class RankCut(Cut):
    """Keeps entries by a draw against a probability that grows with the rank in the
    row; a piece holds whole rows.
    """

    words: tuple[object, ...]
    row: int
    keep: float
    window: float

    def probabilities(self, rows: Tensor) -> Tensor:
        """q of every entry, [rows, row] float64."""
        if self.row == 1:
            return torch.full_like(rows, self.keep, dtype=torch.float64)
        ranks = rows.abs().argsort(dim=1, stable=True).argsort(dim=1)
        return (
            self.keep - self.window / 2 + self.window * ranks.double() / (self.row - 1)
        )

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        rows = tau.reshape(-1, self.row)
        q = self.probabilities(rows)
        stays = (
            draws(self.words, start, tau.numel(), tau.device).view(rows.shape)
            < q * 2**32
        )
        return torch.where(stays, rows / q.to(rows.dtype), 0).view(tau.shape)

    def facts(self) -> dict[str, float]:
        return {"keep": self.keep, "window": self.window}


@dataclass(frozen=True)
class MagPrune:
    """keep -/+ window / 2 are the probabilities of a row's smallest and largest entry."""

    keep: float
    window: float
    seed: int
    scope: str = "tensor"
    by_rows = True

    def __post_init__(self) -> None:
        check_keep(self.keep)
        check_scope(self.scope, ("tensor",))
        if (
            self.window < 0
            or self.keep - self.window / 2 <= 0
            or self.keep + self.window / 2 > 1
        ):
            raise TadropError(
                f"keep is {self.keep} and window is {self.window}; keep - window / 2 and keep + window / 2 are "
                "probabilities and must be in (0, 1]"
            )

    def plan(self, vector: Vector) -> RankCut:
        words = ("magprune", self.seed, vector.task, vector.name)
        return RankCut(
            words,
            max(vector.shape[-1], 1) if vector.shape else 1,
            self.keep,
            self.window,
        )
