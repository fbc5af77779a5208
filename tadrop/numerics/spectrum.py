"""The magnitudes of one vector by rank, and what can be asked of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, sqrt
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class OrderStatistic:
    """The value of one rank with its place.

    `below` entries are smaller, `equal` entries share the value.
    """

    value: float
    below: int
    equal: int


# For each of several quantiles what it is surely not below, and what it is surely below.
Bounds = list[tuple[float, float]]


@runtime_checkable
class Spectrum(Protocol):
    """The magnitudes of one vector. Ranks are 0-based and ascending."""

    size: int

    def order_statistics(self, ranks: list[int]) -> list[OrderStatistic]:
        """The entries of the given ranks."""
        ...

    def norm(self, p: int, kept: int | None = None) -> float:
        """The l1 or l2 norm of the vector, or of its `kept` largest magnitudes."""
        ...

    def places(self, value: float) -> Iterator[np.ndarray]:
        """The flat indices of the entries with this magnitude, part by part.

        It is a magnitude that order_statistics has given. Parts come in any order, as do
        the indices in them, and each of them is small beside a large vector.
        """
        ...

    def foresee(
        self,
        fractions: Sequence[float],
        ranks: Callable[[Bounds], tuple[int, int]],
    ) -> None:
        """Prepares for these quantiles, in one pass, and for the ranks that follow.

        ranks: from the quantiles' bounds, the first and the last rank that will be asked
        for. Only a matter of speed: whatever else is asked for later is looked up then.
        """

    def quantiles(self, fractions: Sequence[float]) -> list[float]:
        """Linear interpolation between order statistics, in float64.

        It is what numpy.quantile does by default.
        """
        places, lows, highs = self.neighbours(fractions)
        statistics = self.order_statistics(lows + highs)
        below = statistics[: len(lows)]
        above = statistics[len(lows) :]
        values: list[float] = []
        for place, low, a, b in zip(places, lows, below, above, strict=True):
            values.append(a.value + (place - low) * (b.value - a.value))
        return values

    def neighbours(
        self,
        fractions: Sequence[float],
    ) -> tuple[list[float], list[int], list[int]]:
        """Where quantiles lie among the ranks, and the ranks below and above."""
        last = self.size - 1
        places: list[float] = []
        lows: list[int] = []
        highs: list[int] = []
        for fraction in fractions:
            place = fraction * last
            low = floor(place)
            places.append(place)
            lows.append(low)
            highs.append(min(low + 1, last))
        return places, lows, highs


def check_ranks(ranks: Sequence[int], size: int) -> None:
    """Raises ValueError for a rank that is not there."""
    if any(not 0 <= rank < size for rank in ranks):
        raise ValueError(f"ranks {ranks} of a vector with {size} entries")


@dataclass
class Sorted(Spectrum):
    """The magnitudes of a small vector, float64, in their order and ascending."""

    magnitudes: np.ndarray

    def __post_init__(self) -> None:
        self.size = len(self.magnitudes)
        self.values = np.sort(self.magnitudes)

    def order_statistics(self, ranks: list[int]) -> list[OrderStatistic]:
        """See Spectrum."""
        check_ranks(ranks, self.size)
        values = self.values[ranks]
        below = np.searchsorted(self.values, values, side="left").tolist()
        upto = np.searchsorted(self.values, values, side="right").tolist()
        statistics: list[OrderStatistic] = []
        for value, first, end in zip(values.tolist(), below, upto, strict=True):
            statistics.append(OrderStatistic(value, first, end - first))
        return statistics

    def norm(self, p: int, kept: int | None = None) -> float:
        """See Spectrum."""
        values = self.values
        if kept is not None:
            values = values[max(self.size - kept, 0) :]
        if p == 1:
            return float(values.sum())
        return sqrt(float(np.square(values).sum()))

    def places(self, value: float) -> Iterator[np.ndarray]:
        """See Spectrum."""
        return iter((np.flatnonzero(self.magnitudes == value),))
