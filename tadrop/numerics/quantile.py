"""Exact order statistics and norms of magnitudes, for vectors of any size; order
statistics of signed values too.

torch.quantile refuses more than 2**24 entries and sorting costs a copy. Here the
entries are counted by their upper bits (histogram.py), which tells in which bins the
wanted ranks lie; a second pass takes the few entries of these bins out and sorts them,
or counts them by their lower bits where many are alike. Two passes over pieces of any
length, with bounded memory. A vector smaller than the histogram is sorted instead.

The histogram also carries the sums of the lower bits, and another pass those of their
squares if the l2 norm is asked for. These are integers, so the l1 and l2 norms of the
vector, and of whatever lies above an order statistic, do not depend on the pieces or on
the threads that counted them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import floor, sqrt
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics import histogram
from tadrop.numerics.histogram import LOW_BITS, LOWS
from tadrop.types import TadropError, Vector

_INFINITY_BIN = 0x7F80  # upper bits of infinity and NaN
SMALL = 1 << 15  # entries up to which sorting is cheaper than counting
HELD = 1 << 22  # entries up to which a vector is held for the second pass: 16 MB
GATHERED = 1 << 18  # entries up to which a bin is taken out and sorted; above, counted
CANDIDATES = 16  # bins looked into on the chance that they will be asked for


@dataclass(frozen=True)
class OrderStatistic:
    """The value of one rank with its place: `below` entries are smaller, `equal`
    entries share the value.
    """

    value: float
    below: int
    equal: int


def _scales() -> tuple[np.ndarray, np.ndarray]:
    """By upper bits: a float32 with these and lower bits l is (significand + l) * unit."""
    uppers = np.arange(histogram.BINS)
    exponent = uppers >> 7
    significand = ((uppers & 127) | np.where(exponent > 0, 128, 0)) << LOW_BITS
    return significand.astype(np.float64), np.ldexp(1.0, np.maximum(exponent, 1) - 150)


_SIGNIFICANDS, _UNITS = _scales()


Bounds = list[
    tuple[float, float]
]  # what a quantile is surely not below, and surely below


def _edge(upper: int) -> float:
    """The smallest float32 with these upper bits; infinity is the edge above the
    largest.
    """
    return float(np.uint32(upper << LOW_BITS).view(np.float32))


class Spectrum(Protocol):
    """The magnitudes of one vector. Ranks are 0-based and ascending."""

    size: int

    def order_statistics(self, ranks: list[int]) -> list[OrderStatistic]:
        """The entries of the given ranks."""
        ...

    def norm(self, p: int, kept: int | None = None) -> float:
        """The l1 or l2 norm of the vector, or of its `kept` largest magnitudes."""
        ...

    def nth_equal(self, value: float, nth: int) -> int:
        """The flat index of the nth entry (from 1) with this magnitude, which
        order_statistics has given.
        """
        ...

    def foresee(
        self, fractions: Sequence[float], ranks: Callable[[Bounds], tuple[int, int]]
    ) -> None:
        """Prepares, in one pass, for these quantiles and for the ranks, first to last,
        that follow from their bounds.

        Only a matter of speed: whatever else is asked for later is looked up then.
        """

    def quantiles(self, fractions: Sequence[float]) -> list[float]:
        """Linear interpolation between order statistics, as numpy.quantile does by
        default, in float64.
        """
        places, lows, highs = self._neighbours(fractions)
        values = [s.value for s in self.order_statistics(lows + highs)]
        pairs = zip(places, lows, values[: len(lows)], values[len(lows) :], strict=True)
        return [a + (place - low) * (b - a) for place, low, a, b in pairs]

    def _neighbours(
        self, fractions: Sequence[float]
    ) -> tuple[list[float], list[int], list[int]]:
        """Where quantiles lie among the ranks, and the ranks below and above."""
        places = [q * (self.size - 1) for q in fractions]
        lows = [floor(p) for p in places]
        return places, lows, [min(low + 1, self.size - 1) for low in lows]


@dataclass
class Sorted(Spectrum):
    """The magnitudes of a small vector, in their order and in ascending order, float64."""

    magnitudes: np.ndarray

    def __post_init__(self) -> None:
        self.size, self.values = len(self.magnitudes), np.sort(self.magnitudes)

    def order_statistics(self, ranks: list[int]) -> list[OrderStatistic]:
        _check_ranks(ranks, self.size)
        values = self.values[ranks]
        below, upto = (
            np.searchsorted(self.values, values, side=side)
            for side in ("left", "right")
        )
        return [
            OrderStatistic(float(v), int(b), int(u - b))
            for v, b, u in zip(values, below, upto, strict=True)
        ]

    def norm(self, p: int, kept: int | None = None) -> float:
        kept = self.values if kept is None else self.values[max(self.size - kept, 0) :]
        return float(kept.sum()) if p == 1 else sqrt(float(np.square(kept).sum()))

    def nth_equal(self, value: float, nth: int) -> int:
        return int(np.flatnonzero(self.magnitudes == value)[nth - 1])


def _check_ranks(ranks: list[int], size: int) -> None:
    if any(not 0 <= r < size for r in ranks):
        raise ValueError(f"ranks {ranks} of a vector with {size} entries")


class _Bin(NamedTuple):
    """The distinct lower bits in one bin, ascending, and how many entries of the bin
    are not larger.
    """

    lows: np.ndarray
    upto: np.ndarray


def _bin_of_sorted(lows: np.ndarray) -> _Bin:
    last = np.ones(len(lows), dtype=bool)  # of its equals
    np.not_equal(lows[1:], lows[:-1], out=last[:-1])
    (ends,) = last.nonzero()
    return _Bin(lows[ends], ends + 1)


def _bin_of_counts(counts: np.ndarray) -> _Bin:
    lows = np.flatnonzero(counts)
    return _Bin(lows, counts[lows].cumsum())


@dataclass
class Counted(Spectrum):
    """The magnitudes of one vector, counted by value."""

    size: int
    pieces: Callable[[], Iterator[Tensor]]
    table: np.ndarray  # [2, 2**15] by upper bits: counts, sums of lower bits
    coarse: np.ndarray = field(init=False)  # [2**15] counts, cumulated
    _known: dict[int, _Bin] = field(default_factory=dict)  # by upper bits
    _taken: list[tuple[np.ndarray, np.ndarray]] = field(
        default_factory=list
    )  # bits and flat indices of entries

    def __post_init__(self) -> None:
        self.coarse = self.table[0].cumsum()

    def _look_into(self, bins: Iterable[int]) -> None:
        """Makes these bins known: one pass to take out those with few entries, one to
        count those with many.
        """
        missing = sorted(set(bins) - self._known.keys())
        if not missing:
            return
        counts = self.table[0, missing].tolist()
        few = [
            (b, count)
            for b, count in zip(missing, counts, strict=True)
            if count <= GATHERED
        ]
        if few:
            values, places = histogram.gather(
                self.pieces(), self.size, [b for b, _ in few], sum(n for _, n in few)
            )
            self._taken.append((values, places))
            lows, end = np.sort(values) & np.uint32(LOWS - 1), 0
            for b, count in few:
                start, end = end, end + count
                self._known[b] = _bin_of_sorted(lows[start:end])
        if len(few) < len(missing):
            many = [b for b in missing if b not in self._known]
            tables = histogram.by_lower_bits(self.pieces(), self.size, many)
            self._known |= {
                b: _bin_of_counts(table) for b, table in zip(many, tables, strict=True)
            }

    def _bins(self, ranks: Sequence[int]) -> list[int]:
        return self.coarse.searchsorted(ranks, side="right").tolist()

    def foresee(
        self, fractions: Sequence[float], ranks: Callable[[Bounds], tuple[int, int]]
    ) -> None:
        """See Spectrum."""
        _, lows, highs = self._neighbours(fractions)
        below, above = self._bins(lows), self._bins(highs)
        first, last = self._bins(
            ranks([(_edge(a), _edge(b + 1)) for a, b in zip(below, above, strict=True)])
        )
        likely = (first + self.table[0, first : last + 1].nonzero()[0]).tolist()
        self._look_into(
            [*below, *above, *(likely if len(likely) <= CANDIDATES else ())]
        )

    def order_statistics(self, ranks: list[int]) -> list[OrderStatistic]:
        """The entries of the given ranks; a pass over the pieces for bins that are not
        yet known.
        """
        _check_ranks(ranks, self.size)
        bins = self._bins(ranks)
        self._look_into(bins)
        found = []
        for rank, b in zip(ranks, bins, strict=True):
            before = int(self.coarse[b - 1]) if b else 0
            lows, upto = self._known[b]
            at = int(upto.searchsorted(rank - before, side="right"))
            below = before + (int(upto[at - 1]) if at else 0)
            value = float(np.uint32((b << LOW_BITS) | int(lows[at])).view(np.float32))
            found.append(OrderStatistic(value, below, before + int(upto[at]) - below))
        return found

    def nth_equal(self, value: float, nth: int) -> int:
        """See Spectrum; another pass where the entries were counted and not taken out."""
        bits = _bits_of(value)
        for values, places in self._taken:
            if len(equal := places[values == bits]):
                return int(np.sort(equal)[nth - 1])
        return histogram.nth_equal(self.pieces(), self.size, bits, nth)

    def norm(self, p: int, kept: int | None = None) -> float:
        """The l1 or l2 norm of the vector, or of its `kept` largest magnitudes; l1 from
        the counts, without a pass.
        """
        if kept is not None and kept <= 0:
            return 0.0
        if kept is None or kept >= self.size:
            total = self._power_above(-1, p)
        else:
            (at,) = self.order_statistics([self.size - kept])
            bits = _bits_of(at.value)
            surely = self.size - at.below - at.equal
            total = self._power_above(bits >> LOW_BITS, p) + self._power_within(bits, p)
            total += (kept - surely) * at.value**p
        return total if p == 1 else sqrt(total)

    def _power_above(self, upper: int, p: int) -> float:
        """The sum of |x| or x**2 over the entries whose upper bits are larger than
        `upper`.
        """
        powers = self._magnitudes if p == 1 else self._squares
        return float(powers[max(upper + 1 - self._used.start, 0) :].sum())

    @cached_property
    def _used(self) -> slice:
        """The range of upper bits that occur; those of zero only if smaller numbers
        than 2**-133 have them too.
        """
        zeros = 0 if self.table[1, 0] else min(int(self.coarse[0]), self.size - 1)
        first, last = self._bins([zeros, self.size - 1])
        return slice(first, last + 1)

    @cached_property
    def _magnitudes(self) -> np.ndarray:
        """By upper bits in use: the sum of |x|."""
        count, low = self.table[:, self._used].astype(np.float64)
        return (_SIGNIFICANDS[self._used] * count + low) * _UNITS[self._used]

    @cached_property
    def _squares(self) -> np.ndarray:
        """By upper bits in use: the sum of x**2."""
        significand = _SIGNIFICANDS[self._used]
        count, low = self.table[:, self._used].astype(np.float64)
        square = histogram.lower_squares(self.pieces(), self.size)[self._used].astype(
            np.float64
        )
        return (significand * (significand * count + 2 * low) + square) * _UNITS[
            self._used
        ] ** 2

    def _power_within(self, bits: int, p: int) -> float:
        """The same over the entries with the upper bits of `bits` and larger lower
        bits.
        """
        upper, low = bits >> LOW_BITS, bits & (LOWS - 1)
        lows, upto = self._known[upper]
        at = int(lows.searchsorted(low))
        values = (_SIGNIFICANDS[upper] + lows[at + 1 :]) * _UNITS[upper]
        return float(((upto[at + 1 :] - upto[at:-1]) * values**p).sum())


def _bits_of(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


def spectrum(vector: Vector) -> Spectrum:
    """The magnitudes of a vector. Raises TadropError if an entry is NaN or infinite."""
    if vector.size <= SMALL:
        pieces = [piece.abs().double().cpu().numpy() for piece in vector.pieces()]
        magnitudes = Sorted(np.concatenate(pieces) if pieces else np.empty(0))
        _refuse(vector, int(np.count_nonzero(~np.isfinite(magnitudes.values))))
        return magnitudes
    pieces = vector.pieces
    if vector.size <= HELD:
        held = list(vector.pieces())
        pieces = lambda: iter(held)  # noqa: E731
    table = histogram.by_upper_bits(pieces(), vector.size)
    _refuse(vector, int(table[0, _INFINITY_BIN:].sum()))
    return Counted(vector.size, pieces, table)


def _refuse(vector: Vector, bad: int) -> None:
    if bad:
        raise TadropError(
            f"task vector {vector.task!r}, {vector.name!r}: {bad} entries are NaN or infinite"
        )


def _keys(values: Tensor) -> Tensor:
    """int32 that sort like the float32 values themselves, negative ones included; -0
    counts as 0.
    """
    bits = (values.float() + 0.0).view(torch.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _counts(rows: Tensor, bins: Tensor, width: int) -> Tensor:
    """How often each bin occurs in each row; [T, width]."""
    offsets = torch.arange(len(rows), device=rows.device).unsqueeze(1) * width
    return (
        torch.bincount((bins + offsets).reshape(-1), minlength=len(rows) * width)
        .view(len(rows), width)
        .cpu()
    )


def order_statistics(
    blocks: Callable[[], Iterator[Tensor]], ranks: list[int]
) -> Tensor:
    """The entries of the given 0-based ascending ranks of every row, [T, len(ranks)]
    float32.

    blocks() gives the rows piece by piece, [T, n] float32; it is called twice and must
    give the same bits. Constant
    memory: two histograms of 2**16 bins a row. Raises ValueError for a rank that is not
    there.
    """
    width = 1 << LOW_BITS
    coarse = sum(
        _counts(b, (_keys(b) >> LOW_BITS) + width // 2, width) for b in blocks()
    ).cumsum(1)
    size = int(coarse[0, -1])
    if any(not 0 <= r < size for r in ranks):
        raise ValueError(f"ranks {ranks} of vectors with {size} entries")
    wanted = torch.tensor(ranks).expand(len(coarse), -1).contiguous()
    bins = torch.searchsorted(coarse, wanted, right=True)
    before = torch.where(bins > 0, coarse.gather(1, (bins - 1).clamp(min=0)), 0)
    fine = torch.zeros(*bins.shape, width, dtype=torch.int64)
    for block in blocks():
        for row, keys in enumerate(_keys(block)):
            upper = (keys >> LOW_BITS) + width // 2
            for at, b in enumerate(bins[row].tolist()):
                lower = keys[upper == b] & (width - 1)
                fine[row, at] += torch.bincount(lower, minlength=width).cpu()
    low = torch.searchsorted(
        fine.cumsum(-1), (wanted - before).unsqueeze(-1), right=True
    ).squeeze(-1)
    keys = (((bins - width // 2) << LOW_BITS) | low).to(torch.int32)
    return (keys ^ ((keys >> 31) & 0x7FFFFFFF)).view(torch.float32)
