"""Magnitude pruning: keep the largest entries of a vector.

`count` says how the fraction becomes a number of entries.

nearest: round(keep * n), at least 1.
ties:    int(keep * n) + 1, what the k-th value rule of the TIES authors' code keeps when
         no two magnitudes are equal (arXiv 2306.01708).
kth:     the same and all entries as large as the last of them: the authors' code to the
         letter. The two differ where weights are stored in 16 bits: of bfloat16 weights
         of deviation .02 and task vectors of 1e-4, 20 % become 37 %.
floor:   int(keep * n), at least 1.

Otherwise the count is exact. Among entries as large as the last of them an order drawn
for (task, vector) decides, see top_cut.py; equals=all keeps all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tadrop.numerics.quantile import spectrum
from tadrop.sparsify.rule import Rule
from tadrop.sparsify.top_cut import TopCut, check_equals, check_norm, restored, top
from tadrop.types import Facts, TadropError, Vector, check_keep, check_scope


def _nearest(keep: float, size: int) -> int:
    return max(round(keep * size), 1)


def _one_more(keep: float, size: int) -> int:
    return min(int(keep * size) + 1, size)


def _floor(keep: float, size: int) -> int:
    return max(int(keep * size), 1)


COUNTS: dict[str, Callable[[float, int], int]] = {
    "nearest": _nearest,
    "ties": _one_more,
    "kth": _one_more,
    "floor": _floor,
}


@dataclass(frozen=True)
class Magnitude(Rule):
    """Keeps the top fraction of |tau|.

    norm:   what the survivors' rescaling restores, the vector's l1 or l2 norm, or
            nothing (none)
    equals: entries as large as the last that fits the count: drawn or all
    """

    keep: float
    count: str = "nearest"
    norm: str = "none"
    scope: str = "tensor"
    equals: str = "drawn"

    def __post_init__(self) -> None:
        check_keep(self.keep)
        check_norm(self.norm)
        check_equals(self.equals)
        check_scope(self.scope, ("tensor", "layer", "model"))
        if self.count not in COUNTS:
            raise TadropError(
                f"count is {self.count!r}; it must be one of {', '.join(COUNTS)}"
            )

    @property
    def density(self) -> float:
        """See Redealt."""
        return self.keep

    def redealt(self, table: Mapping[tuple[str, str], Facts], scope: str) -> None:
        """See Redealt."""

    def plan(self, vector: Vector) -> TopCut:
        """See Sparsifier."""
        count = COUNTS[self.count](self.keep, vector.size)
        magnitudes = spectrum(vector)
        equals = "all" if self.count == "kth" else self.equals
        cut = top(vector, magnitudes, count, equals)
        return restored(magnitudes, cut, self.norm)
