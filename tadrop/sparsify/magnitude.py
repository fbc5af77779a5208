"""Magnitude pruning: keep the largest entries of a vector, an exact count of them, ties
by lowest index.

`count` says how the fraction becomes a number of entries.
nearest: round(keep * n), at least 1.
ties:    int(keep * n) + 1, what the k-th value rule of the TIES authors' code keeps when no two magnitudes are equal
         (arXiv 2306.01708).
kth:     the same and all entries as large as the last of them: the authors' code to the letter. The two differ where
         weights are stored in 16 bits, by up to 2 % of the entries kept.
floor:   int(keep * n), at least 1.
"""

from dataclasses import dataclass

from tadrop.numerics.quantile import spectrum
from tadrop.numerics.top_cut import TopCut, check_norm, restored, top
from tadrop.types import TadropError, Vector, check_keep, check_scope

COUNTS = {
    "nearest": lambda keep, n: max(round(keep * n), 1),
    "ties": lambda keep, n: min(int(keep * n) + 1, n),
    "kth": lambda keep, n: min(int(keep * n) + 1, n),
    "floor": lambda keep, n: max(int(keep * n), 1),
}


@dataclass(frozen=True)
class Magnitude:
    """Keeps the top fraction of |tau|; norm: rescale survivors to the vector's l1 or l2
    norm, or not (none).
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
        count = COUNTS[self.count](self.keep, vector.size)
        magnitudes = spectrum(vector)
        return restored(
            magnitudes, top(magnitudes, count, equals=self.count == "kth"), self.norm
        )
