"""Magnitude pruning: keep the largest entries of a vector, an exact count of them.

Among equals the lowest indices stay. `count` says how the fraction becomes a number of
entries.

nearest: round(keep * n), at least 1.
ties:    int(keep * n) + 1, what the k-th value rule of the TIES authors' code keeps when
         no two magnitudes are equal (arXiv 2306.01708).
kth:     the same and all entries as large as the last of them: the authors' code to the
         letter. The two differ where weights are stored in 16 bits, by up to 2 % of the
         entries kept.
floor:   int(keep * n), at least 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tadrop.numerics.quantile import spectrum
from tadrop.sparsify.rule import Rule
from tadrop.sparsify.top_cut import TopCut, check_norm, restored, top
from tadrop.types import TadropError, Vector, check_keep, check_scope


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

    norm: what the survivors' rescaling restores, the vector's l1 or l2 norm, or nothing
    (none).
    """

    keep: float
    count: str = "nearest"
    norm: str = "none"
    scope: str = "tensor"

    def __post_init__(self) -> None:
        check_keep(self.keep)
        check_norm(self.norm)
        check_scope(self.scope, ("tensor", "layer", "model"))
        if self.count not in COUNTS:
            raise TadropError(
                f"count is {self.count!r}; it must be one of {', '.join(COUNTS)}"
            )

    def plan(self, vector: Vector) -> TopCut:
        """See Sparsifier."""
        count = COUNTS[self.count](self.keep, vector.size)
        magnitudes = spectrum(vector)
        cut = top(magnitudes, count, equals=self.count == "kth")
        return restored(magnitudes, cut, self.norm)
