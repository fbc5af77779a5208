"""Magnitude pruning of each matrix row, along the last axis.

It is the lower cut of Model Breadcrumbs (arXiv 2312.06795). Every row of n entries
keeps its int(keep * n) + int(outliers * n) largest: the authors' code removes the
outliers first and keeps the top `keep` of what remains, and the outliers are removed by
the formula (baselines/breadcrumbs.py), so that they also go where another rule stands
in this one's place. A vector is one row; a tensor without axes is kept.
"""

from dataclasses import dataclass

import torch

from tadrop.numerics.ops import largest
from tadrop.protocols.streams import Cut
from tadrop.sparsify.rule import Rule
from tadrop.types import Facts, TadropError, Tau, Vector, check_keep, check_scope


@dataclass(frozen=True)
class RowCut(Cut):
    """Keeps the `count` largest of each `row` entries; a piece holds whole rows."""

    row: int
    count: int
    size: int

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        """See Cut."""
        rows = tau.reshape(-1, self.row)
        return torch.where(largest(rows.abs(), self.count), rows, 0).view(tau.shape)

    def facts(self) -> Facts:
        """See Cut."""
        kept = self.size // self.row * min(self.count, self.row)
        return Facts(self.size, kept, factor=1.0)


@dataclass(frozen=True)
class RowMagnitude(Rule):
    """Keeps the largest entries of each matrix row.

    keep:     the fraction of a row that survives the merge
    outliers: the fraction above it that the formula removes
    """

    keep: float
    outliers: float = 0.0
    scope: str = "tensor"

    def __post_init__(self) -> None:
        check_keep(self.keep)
        check_scope(self.scope, ("tensor",))
        if not 0 <= self.outliers < 1:
            raise TadropError(
                f"outliers is {self.outliers}; "
                "it is the fraction of largest entries and must be in [0, 1)"
            )

    @property
    def by_rows(self) -> bool:
        return True

    def plan(self, vector: Vector) -> RowCut:
        """See Sparsifier."""
        if not vector.shape:
            return RowCut(1, 1, 1)
        row = max(vector.shape[-1], 1)
        count = int(self.keep * row) + int(self.outliers * row)
        return RowCut(row, count, vector.size)
