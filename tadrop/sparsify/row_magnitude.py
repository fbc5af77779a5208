"""Magnitude pruning of each matrix row, along the last axis.

It is the lower cut of Model Breadcrumbs (arXiv 2312.06795). Every row of n entries
keeps its int(keep * n) + int(outliers * n) largest: the authors' code removes the
outliers first and keeps the top `keep` of what remains, and the outliers are removed by
the formula (baselines/breadcrumbs.py), so that they also go where another rule stands
in this one's place. A vector is one row; a tensor without axes is kept. Among equal
magnitudes at the end of a row's count an order drawn for (task, tensor) decides, as in
top_cut.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.ops import largest
from tadrop.numerics.seeds import key
from tadrop.protocols.streams import Cut
from tadrop.sparsify.draws import ROW_EQUALS, ranks_of_rows
from tadrop.sparsify.rule import Rule
from tadrop.types import Facts, TadropError, Tau, Vector, check_keep, check_scope

LAST = 2**63 - 1  # a rank that no other comes after


@dataclass(frozen=True)
class RowCut(Cut):
    """Keeps the `count` largest of each `row` entries; a piece holds whole rows.

    order: of the words by which some of equal magnitudes stay; None: the first stay
    """

    row: int
    count: int
    size: int
    order: int | None = None

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        """See Cut."""
        if self._compiled(tau):
            return self.apply_(tau.clone(), start)
        rows = tau.reshape(-1, self.row)
        magnitudes = rows.abs()
        kept = largest(magnitudes, self.count)
        if self.order is not None and 0 < self.count < self.row:
            _deal_equals(magnitudes, kept, self.order, start)
        return torch.where(kept & (rows != 0), rows, 0).view(tau.shape)

    def apply_(self, tau: Tau, start: int = 0) -> Tau:
        """See Cut."""
        if not self._compiled(tau):
            return super().apply_(tau, start)
        if self.count <= 0:
            return tau.zero_()
        from tadrop.numerics.kernels import largest as kernels

        kernels.keep_largest(
            compiled.array(tau.view(-1, self.row)),
            min(self.count, self.row),
            start,
            np.uint64(self.order or 0),
            self.order is not None,
        )
        return tau

    def _compiled(self, tau: Tau) -> bool:
        """Whether the kernel takes a piece: it counts the entries of a row in 31 bits."""
        return compiled.serves(tau.numel(), tau) and self.row < 1 << 31

    def facts(self) -> Facts:
        """See Cut."""
        kept = self.size // self.row * min(self.count, self.row)
        return Facts(self.size, kept, factor=1.0)


def _deal_equals(magnitudes: Tensor, kept: Tensor, order: int, start: int) -> None:
    """Chooses anew, by their words, where a matrix row keeps some of equal magnitudes.

    magnitudes, kept: [matrix row, row]; start: the first flat index
    """
    smallest = torch.where(kept, magnitudes, torch.inf).amin(-1, keepdim=True)
    equal = (magnitudes == smallest) & (smallest > 0)
    (tied,) = torch.nonzero((equal & ~kept).any(-1), as_tuple=True)
    if not len(tied):
        return
    equal, room = equal[tied], (kept & equal)[tied].sum(-1, keepdim=True)
    words = ranks_of_rows(order, tied, kept.shape[-1], start)
    words = torch.where(equal, words, LAST)
    last = words.sort(-1).values.gather(-1, room - 1)
    kept[tied] = torch.where(equal, words <= last, kept[tied])


@dataclass(frozen=True)
class RowMagnitude(Rule):
    """Keeps the largest entries of each matrix row.

    keep:     the fraction of a row that survives the merge
    outliers: the fraction above it that the formula removes
    equals:   of entries as large as the last that fits the count those stay that are
              drawn, or those of the lowest index
    """

    keep: float
    outliers: float = 0.0
    scope: str = "tensor"
    equals: str = "drawn"

    def __post_init__(self) -> None:
        check_keep(self.keep)
        check_scope(self.scope, ("tensor",))
        if self.equals not in ROW_EQUALS:
            raise TadropError(f"equals is {self.equals!r}; it must be drawn or index")
        if not 0 <= self.outliers < 1:
            raise TadropError(
                f"outliers is {self.outliers}; "
                "it is the fraction of largest entries and must be in [0, 1)"
            )

    @property
    def by_rows(self) -> bool:
        return True

    @property
    def density(self) -> float:
        """See Redealt; the formula's outliers are among what is kept."""
        return min(self.keep + self.outliers, 1.0)

    def redealt(self, table: Mapping[tuple[str, str], Facts], scope: str) -> None:
        """See Redealt."""

    def plan(self, vector: Vector) -> RowCut:
        """See Sparsifier."""
        if not vector.shape:
            return RowCut(1, 1, 1)
        row = max(vector.shape[-1], 1)
        count = int(self.keep * row) + int(self.outliers * row)
        is_drawn = self.equals == "drawn"
        order = key("equals", vector.task, vector.name) if is_drawn else None
        return RowCut(row, count, vector.size, order)
