"""MagPrune, DELLA's random drop (arXiv 2406.11617): large entries stay more likely.

A matrix row of n entries, along the last axis, is ranked by ascending magnitude (equal
ones by an order drawn for (task, tensor), as in top_cut.py); rank r stays with
probability q = keep - window / 2 + window * r / (n - 1) and is divided by q. keep is 1 -
the paper's drop rate. A row of one entry stays with probability keep (the authors' code
divides 0 by 0); tensors of any number of axes are taken by their last, where that code
knows one or two. The draw of an entry depends on (seed, task, tensor name, index) alone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.seeds import key
from tadrop.protocols.streams import Cut
from tadrop.sparsify.draws import ROW_EQUALS, draws, ranks_of_rows
from tadrop.sparsify.rule import Rule
from tadrop.types import TadropError, Tau, Vector, check_keep, check_scope


@dataclass(frozen=True)
class RankCut(Cut):
    """Keeps entries by a draw against a probability that grows with the rank.

    A piece holds whole matrix rows.
    order: of the words by which equal magnitudes are ranked; None: by index
    """

    words: tuple[object, ...]
    row: int
    keep: float
    window: float
    order: int | None = None

    def by_rank(self) -> Float[Tensor, " row"]:
        """q of every rank, float64."""
        if self.row == 1:
            return torch.full((1,), self.keep, dtype=torch.float64)
        places = torch.arange(self.row, dtype=torch.float64)
        lowest = self.keep - self.window / 2
        return lowest + self.window * places / (self.row - 1)

    def probabilities(self, rows: Tensor, start: int = 0) -> Tensor:
        """q of every entry, [matrix row, row], float64; start: the first flat index."""
        places = self._ascending(rows.abs(), start).argsort(dim=1)
        return self.by_rank().to(rows.device)[places]

    def _ascending(self, magnitudes: Tensor, start: int) -> Tensor:
        """The columns of each matrix row by ascending magnitude, equal ones by words.

        The order of zeros, which stay zero, is left as it comes.
        """
        columns = magnitudes.argsort(dim=1, stable=True)
        values = magnitudes.gather(1, columns)
        equal = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > 0)
        (tied,) = torch.nonzero(equal.any(1), as_tuple=True)
        if len(tied) and self.order is not None:
            drawn = ranks_of_rows(self.order, tied, self.row, start).argsort(dim=1)
            dealt = magnitudes[tied].gather(1, drawn).argsort(dim=1, stable=True)
            columns[tied] = drawn.gather(1, dealt)
        return columns

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        """See Cut."""
        if self._compiled(tau):
            return self.apply_(tau.clone(), start)
        rows = tau.reshape(-1, self.row)
        q = self.probabilities(rows, start)
        drawn = draws(self.words, start, tau.numel(), tau.device).view(rows.shape)
        stays = (drawn < q * 2**32) & (rows != 0)
        return torch.where(stays, rows / q.to(rows.dtype), 0).view(tau.shape)

    def apply_(self, tau: Tau, start: int = 0) -> Tau:
        """See Cut."""
        if not self._compiled(tau):
            return super().apply_(tau, start)
        from tadrop.numerics.kernels import rows as kernels

        q = self.by_rank()
        kernels.prune_by_rank(
            compiled.array(tau.view(-1, self.row)),
            start,
            (q * 2**32).numpy(),
            q.float().numpy(),
            np.uint64(key(*self.words)),
            np.uint64(self.order or 0),
            self.order is not None,
        )
        return tau

    def _compiled(self, tau: Tau) -> bool:
        """Whether the kernel takes a piece: it keeps columns in 32 bits."""
        return compiled.serves(tau.numel(), tau) and self.row < 1 << 32


@dataclass(frozen=True)
class MagPrune(Rule):
    """keep -/+ window / 2 are the probabilities of a row's smallest and largest entry.

    equals: how equal magnitudes are ranked, in an order that is drawn or by index
    """

    keep: float
    window: float
    seed: int
    scope: str = "tensor"
    equals: str = "drawn"

    def __post_init__(self) -> None:
        check_keep(self.keep)
        check_scope(self.scope, ("tensor",))
        if self.equals not in ROW_EQUALS:
            raise TadropError(f"equals is {self.equals!r}; it must be drawn or index")
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
        is_drawn = self.equals == "drawn"
        order = key("equals", vector.task, vector.name) if is_drawn else None
        return RankCut(words, row, self.keep, self.window, order)
