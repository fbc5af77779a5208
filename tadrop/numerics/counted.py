"""The magnitudes of a large vector, counted by value: see quantile.py.

The entries are counted by their upper bits (histogram.py), which tells in which bins
the wanted ranks lie; a second pass takes the few entries of these bins out and sorts
them, or counts them by their lower bits where many are alike.

The histogram also carries the sums of the lower bits, and another pass those of their
squares if the l2 norm is asked for. These are integers, so the l1 and l2 norms of the
vector, and of whatever lies above an order statistic, do not depend on the pieces or on
the threads that counted them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt
from typing import NamedTuple

import numpy as np
from torch import Tensor

from tadrop.numerics import histogram
from tadrop.numerics.histogram import BINS, LOW_BITS, LOWS
from tadrop.numerics.spectrum import Bounds, OrderStatistic, Spectrum, check_ranks

# Entries up to which a bin is taken out and sorted; a larger one is counted.
GATHERED = 1 << 18
# Bins looked into on the chance that they will be asked for.
CANDIDATES = 16


def _scales() -> tuple[np.ndarray, np.ndarray]:
    """Significands and units by upper bits.

    A float32 with these and lower bits l is (significand + l) * unit.
    """
    uppers = np.arange(BINS)
    exponent = uppers >> 7
    leading = np.where(exponent > 0, 128, 0)
    significand = ((uppers & 127) | leading) << LOW_BITS
    unit = np.ldexp(1.0, np.maximum(exponent, 1) - 150)
    return significand.astype(np.float64), unit


_SIGNIFICANDS, _UNITS = _scales()


def _edge(upper: int) -> float:
    """The smallest float32 with these upper bits.

    Infinity is the edge above the largest.
    """
    return _float_of(upper << LOW_BITS)


def _float_of(bits: int) -> float:
    return float(np.uint32(bits).view(np.float32))


def _bits_of(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


class _Bin(NamedTuple):
    """The distinct lower bits in one bin, and how many entries are not larger.

    lows: ascending; upto: entries of the bin up to and with these lower bits
    """

    lows: np.ndarray
    upto: np.ndarray


def _bin_of_sorted(lows: np.ndarray) -> _Bin:
    is_last = np.ones(len(lows), dtype=bool)  # of its equals
    np.not_equal(lows[1:], lows[:-1], out=is_last[:-1])
    (ends,) = is_last.nonzero()
    return _Bin(lows[ends], ends + 1)


def _bin_of_counts(counts: np.ndarray) -> _Bin:
    lows = np.flatnonzero(counts)
    return _Bin(lows, counts[lows].cumsum())


@dataclass
class Counted(Spectrum):
    """The magnitudes of one vector, counted by value.

    table:  [2, 2**15] by upper bits: counts, and sums of lower bits
    coarse: [2**15] counts, cumulated
    """

    size: int
    pieces: Callable[[], Iterator[Tensor]]
    table: np.ndarray
    coarse: np.ndarray = field(init=False)
    # Bins that were looked into, by upper bits.
    _bins: dict[int, _Bin] = field(default_factory=dict)
    # Bits and flat indices of entries that were taken out.
    _taken: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.coarse = self.table[0].cumsum()

    def _look_into(self, uppers: Iterable[int]) -> None:
        """Looks into these bins, unless that was done.

        One pass takes out those with few entries, another counts those with many.
        """
        few: list[int] = []
        many: list[int] = []
        for upper in sorted(set(uppers) - self._bins.keys()):
            is_small = self.table[0, upper] <= GATHERED
            (few if is_small else many).append(upper)
        if few:
            self._take_out(few)
        if many:
            self._count(many)

    def _take_out(self, uppers: list[int]) -> None:
        counts = self.table[0, uppers].tolist()
        pieces, total = self.pieces(), sum(counts)
        taken = histogram.gather(pieces, self.size, uppers, total)
        self._taken.append(taken)
        lows = np.sort(taken[0]) & np.uint32(LOWS - 1)
        end = 0
        for upper, count in zip(uppers, counts, strict=True):
            start, end = end, end + count
            self._bins[upper] = _bin_of_sorted(lows[start:end])

    def _count(self, uppers: list[int]) -> None:
        tables = histogram.by_lower_bits(self.pieces(), self.size, uppers)
        for upper, table in zip(uppers, tables, strict=True):
            self._bins[upper] = _bin_of_counts(table)

    def _uppers(self, ranks: Sequence[int]) -> list[int]:
        """The upper bits of the entries of these ranks."""
        return self.coarse.searchsorted(ranks, side="right").tolist()

    def foresee(
        self,
        fractions: Sequence[float],
        ranks: Callable[[Bounds], tuple[int, int]],
    ) -> None:
        """See Spectrum."""
        _, lows, highs = self.neighbours(fractions)
        below = self._uppers(lows)
        above = self._uppers(highs)
        bounds: Bounds = []
        for low, high in zip(below, above, strict=True):
            bounds.append((_edge(low), _edge(high + 1)))
        first, last = self._uppers(ranks(bounds))
        (occupied,) = self.table[0, first : last + 1].nonzero()
        likely = (first + occupied).tolist()
        if len(likely) > CANDIDATES:
            likely = []
        self._look_into([*below, *above, *likely])

    def order_statistics(self, ranks: list[int]) -> list[OrderStatistic]:
        """See Spectrum; a pass over the pieces for bins that are not yet known."""
        check_ranks(ranks, self.size)
        uppers = self._uppers(ranks)
        self._look_into(uppers)
        statistics: list[OrderStatistic] = []
        for rank, upper in zip(ranks, uppers, strict=True):
            before = int(self.coarse[upper - 1]) if upper else 0
            lows, upto = self._bins[upper]
            index = int(upto.searchsorted(rank - before, side="right"))
            below = before + (int(upto[index - 1]) if index else 0)
            value = _float_of((upper << LOW_BITS) | int(lows[index]))
            equal = before + int(upto[index]) - below
            statistics.append(OrderStatistic(value, below, equal))
        return statistics

    def places(self, value: float) -> Iterator[np.ndarray]:
        """See Spectrum; another pass where entries were counted and not taken out."""
        bits = _bits_of(value)
        for values, places in self._taken:
            equal = places[values == bits]
            if len(equal):
                return iter((equal,))
        return histogram.places(self.pieces(), bits)

    def norm(self, p: int, kept: int | None = None) -> float:
        """See Spectrum; l1 from the counts, without a pass."""
        if kept is not None and kept <= 0:
            return 0.0
        if kept is None or kept >= self.size:
            total = self._power_above(-1, p)
        else:
            (smallest,) = self.order_statistics([self.size - kept])
            bits = _bits_of(smallest.value)
            larger = self.size - smallest.below - smallest.equal
            total = self._power_above(bits >> LOW_BITS, p)
            total += self._power_within(bits, p)
            total += (kept - larger) * smallest.value**p
        return total if p == 1 else sqrt(total)

    def _power_above(self, upper: int, p: int) -> float:
        """The sum of |x| or x**2 over the entries whose upper bits are larger."""
        powers = self._magnitudes if p == 1 else self._squares
        return float(powers[max(upper + 1 - self._used.start, 0) :].sum())

    @cached_property
    def _used(self) -> slice:
        """The range of upper bits that occur.

        Those of zero count only if smaller numbers than 2**-133 have them too.
        """
        zeros = 0
        if not self.table[1, 0]:
            zeros = min(int(self.coarse[0]), self.size - 1)
        first, last = self._uppers([zeros, self.size - 1])
        return slice(first, last + 1)

    @cached_property
    def _magnitudes(self) -> np.ndarray:
        """By upper bits in use: the sum of |x|."""
        used = self._used
        count, low = self.table[:, used].astype(np.float64)
        return (_SIGNIFICANDS[used] * count + low) * _UNITS[used]

    @cached_property
    def _squares(self) -> np.ndarray:
        """By upper bits in use: the sum of x**2."""
        used = self._used
        significand = _SIGNIFICANDS[used]
        count, low = self.table[:, used].astype(np.float64)
        squares = histogram.lower_squares(self.pieces(), self.size)
        square = squares[used].astype(np.float64)
        whole = significand * (significand * count + 2 * low) + square
        return whole * _UNITS[used] ** 2

    def _power_within(self, bits: int, p: int) -> float:
        """The same over the entries with these upper bits and larger lower bits."""
        upper = bits >> LOW_BITS
        lows, upto = self._bins[upper]
        index = int(lows.searchsorted(bits & (LOWS - 1)))
        larger = slice(index + 1, None)
        values = (_SIGNIFICANDS[upper] + lows[larger]) * _UNITS[upper]
        counts = upto[larger] - upto[index:-1]
        return float((counts * values**p).sum())
