"""Exact order statistics and norms of magnitudes, for vectors of any size; order statistics of signed values too.

torch.quantile refuses more than 2**24 entries and sorting costs a copy. The bits of a non-negative float32 sort like
the number itself, so a histogram of the upper 15 bits and a second one of the lower 16 bits inside the few bins that
matter give any order statistic exactly, in two passes over pieces of any length and with constant memory.

The first histogram also carries the sums of the lower bits, and another pass those of their squares if the l2 norm is
asked for. These are integers, so the l1 and l2 norms of the vector, and of whatever lies above an order statistic, do
not depend on the pieces or on the threads that counted them. A vector smaller than its histograms is sorted instead.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from math import floor, sqrt
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tadrop import compiled
from tadrop.blocks import in_order
from tadrop.types import TadropError, Vector

_LOW_BITS = 16
_LOWS = 1 << _LOW_BITS
_COARSE_BINS = 1 << (31 - _LOW_BITS)
_INFINITY_BIN = 0x7F80  # upper bits of infinity and NaN
SMALL = 1 << 15  # entries up to which sorting is cheaper than counting
SHARED = 1 << 22  # entries of a piece from which threads share it
CANDIDATES = 16  # bins refined on the chance that they will be asked for, half a megabyte each
_ROOM = 1 << 23  # entries that a word of kernels.count_upper surely holds


@dataclass(frozen=True)
class OrderStatistic:
    """The value of one rank with its place: `below` entries are smaller, `equal` entries share the value."""

    value: float
    below: int
    equal: int


def _bits(piece: Tensor) -> Tensor:
    return piece.abs().view(torch.int32)


class _Uppers:
    """A histogram of the upper bits: table [2**15, 2] of counts and sums of lower bits."""

    def __init__(self, size: int) -> None:
        """size: of the whole vector, of which only a part may be counted here."""
        self.size, self._table = size, np.zeros((_COARSE_BINS, 2), dtype=np.int64)
        self._lanes, self._pending = np.zeros((2, _COARSE_BINS), dtype=np.uint64), 0

    def add(self, piece: Tensor) -> None:
        if not compiled.worthwhile(self.size, piece):
            self._add_reference(piece)
            return
        from tadrop import kernels

        for some in piece.split(_ROOM):
            if self._pending + len(some) > _ROOM:
                self._unload()
            kernels.count_upper(compiled.bits(some), self._lanes)
            self._pending += len(some)

    def _add_reference(self, piece: Tensor) -> None:
        for bits in _bits(piece).split(1 << 20):  # so few that float64 adds their whole numbers exactly
            upper, low = bits >> _LOW_BITS, (bits & (_LOWS - 1)).double()
            self._table[:, 0] += torch.bincount(upper, minlength=_COARSE_BINS).cpu().numpy()
            self._table[:, 1] += torch.bincount(upper, low, minlength=_COARSE_BINS).cpu().numpy().astype(np.int64)

    def _unload(self) -> None:
        self._table[:, 0] += (self._lanes >> np.uint64(40)).sum(0).astype(np.int64)
        self._table[:, 1] += (self._lanes & np.uint64((1 << 40) - 1)).sum(0).astype(np.int64)
        self._lanes[:] = 0
        self._pending = 0

    @property
    def table(self) -> np.ndarray:
        self._unload()
        return self._table


def _add_up(pieces: Iterable[Tensor], count: Callable[[Iterable[Tensor]], np.ndarray]) -> np.ndarray:
    """The sum of count(pieces), whole numbers. Threads share out pieces of a tensor in memory; streams' are shorter."""
    pieces = iter(pieces)
    first = next(pieces)
    if len(first) < SHARED or first.device.type != "cpu":
        return count(chain([first], pieces))
    whole, threads = [first, *pieces], torch.get_num_threads()
    shares = [[piece.tensor_split(threads)[i] for piece in whole] for i in range(threads)]
    return sum(in_order(count, shares, threads))


def _upper_table(pieces: Iterable[Tensor], size: int) -> np.ndarray:
    """[2**15, 2] by upper bits: counts and sums of lower bits."""
    uppers = _Uppers(size)
    for piece in pieces:
        uppers.add(piece)
    return uppers.table


def _sum_squares(piece: Tensor, size: int, table: np.ndarray) -> None:
    """table[upper bits] += the square of the lower bits."""
    if compiled.worthwhile(size, piece):
        from tadrop import kernels

        kernels.sum_squares(compiled.bits(piece), table)
        return
    for bits in _bits(piece).split(1 << 20):
        upper, low = bits >> _LOW_BITS, (bits & (_LOWS - 1)).double()
        table += torch.bincount(upper, low.square(), minlength=_COARSE_BINS).cpu().numpy().astype(np.int64)


def _count_lower(piece: Tensor, size: int, slots: np.ndarray, fine: np.ndarray) -> None:
    """Adds a piece to fine [slot, lower bits], for the upper bits whose slot is not -1."""
    if compiled.worthwhile(size, piece):
        from tadrop import kernels

        kernels.count_lower(compiled.bits(piece), slots, fine)
        return
    bits = _bits(piece)
    upper = bits >> _LOW_BITS
    for b in np.flatnonzero(slots >= 0):
        lower = bits[upper == int(b)] & (_LOWS - 1)
        fine[slots[b]] += torch.bincount(lower, minlength=_LOWS).cpu().numpy()


def _scale_of(uppers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A float32 with these upper bits and lower bits l is (significand + l) * unit."""
    exponent = uppers >> 7
    significand = ((uppers & 127) | np.where(exponent > 0, 128, 0)) << _LOW_BITS
    return significand.astype(np.float64), np.ldexp(1.0, np.maximum(exponent, 1) - 150)


Bounds = list[tuple[float, float]]  # what a quantile is surely not below, and surely below


def _edge(upper: int) -> float:
    """The smallest float32 with these upper bits; infinity is the edge above the largest."""
    return float(np.uint32(upper << _LOW_BITS).view(np.float32))


class Spectrum(Protocol):
    """The magnitudes of one vector. Ranks are 0-based and ascending."""

    size: int

    def order_statistics(self, ranks: list[int]) -> list[OrderStatistic]:
        """The entries of the given ranks."""
        ...

    def norm(self, p: int, kept: int | None = None) -> float:
        """The l1 or l2 norm of the vector, or of its `kept` largest magnitudes."""
        ...

    def foresee(self, fractions: Sequence[float], ranks: Callable[[Bounds], tuple[int, int]]) -> None:
        """Prepares, in one pass, for these quantiles and for the ranks, first to last, that follow from their bounds.

        Only a matter of speed: whatever else is asked for later is looked up then.
        """

    def quantiles(self, fractions: Sequence[float]) -> list[float]:
        """Linear interpolation between order statistics, as numpy.quantile does by default, in float64."""
        places, lows, highs = self._neighbours(fractions)
        values = [s.value for s in self.order_statistics(lows + highs)]
        pairs = zip(places, lows, values[: len(lows)], values[len(lows) :], strict=True)
        return [a + (place - low) * (b - a) for place, low, a, b in pairs]

    def _neighbours(self, fractions: Sequence[float]) -> tuple[list[float], list[int], list[int]]:
        """Where quantiles lie among the ranks, and the ranks below and above."""
        places = [q * (self.size - 1) for q in fractions]
        lows = [floor(p) for p in places]
        return places, lows, [min(low + 1, self.size - 1) for low in lows]


@dataclass
class Sorted(Spectrum):
    """The magnitudes of a small vector, in ascending order, float64."""

    values: np.ndarray

    def __post_init__(self) -> None:
        self.size = len(self.values)

    def order_statistics(self, ranks: list[int]) -> list[OrderStatistic]:
        _check_ranks(ranks, self.size)
        values = self.values[ranks]
        below, upto = (np.searchsorted(self.values, values, side=side) for side in ("left", "right"))
        return [OrderStatistic(float(v), int(b), int(u - b)) for v, b, u in zip(values, below, upto, strict=True)]

    def norm(self, p: int, kept: int | None = None) -> float:
        kept = self.values if kept is None else self.values[max(self.size - kept, 0) :]
        return float(kept.sum()) if p == 1 else sqrt(float(np.square(kept).sum()))


def _check_ranks(ranks: list[int], size: int) -> None:
    if any(not 0 <= r < size for r in ranks):
        raise ValueError(f"ranks {ranks} of a vector with {size} entries")


@dataclass
class Counted(Spectrum):
    """The magnitudes of one vector, counted by value."""

    size: int
    pieces: Callable[[], Iterator[Tensor]]
    table: np.ndarray  # [2**15, 2] by upper bits: counts, sums of lower bits
    coarse: np.ndarray = field(init=False)  # [2**15] counts, cumulated
    _fine: dict[int, np.ndarray] = field(default_factory=dict)  # upper bits -> [2**16] counts, cumulated

    def __post_init__(self) -> None:
        self.coarse = self.table[:, 0].cumsum()

    def _refine(self, bins: set[int]) -> None:
        missing = sorted(bins - self._fine.keys())
        if not missing:
            return
        slots = np.full(_COARSE_BINS, -1, dtype=np.int32)
        slots[missing] = np.arange(len(missing))

        def count(pieces: Iterable[Tensor]) -> np.ndarray:
            fine = np.zeros((len(missing), _LOWS), dtype=np.int64)
            for piece in pieces:
                _count_lower(piece, self.size, slots, fine)
            return fine

        fine = _add_up(self.pieces(), count).cumsum(1)
        self._fine |= dict(zip(missing, fine, strict=True))

    def _bins(self, ranks: Sequence[int]) -> list[int]:
        return np.searchsorted(self.coarse, ranks, side="right").tolist()

    def foresee(self, fractions: Sequence[float], ranks: Callable[[Bounds], tuple[int, int]]) -> None:
        """See Spectrum."""
        _, lows, highs = self._neighbours(fractions)
        below, above = self._bins(lows), self._bins(highs)
        first, last = self._bins(ranks([(_edge(a), _edge(b + 1)) for a, b in zip(below, above, strict=True)]))
        likely = first + np.flatnonzero(self.table[first : last + 1, 0])
        self._refine({*below, *above, *(likely.tolist() if len(likely) <= CANDIDATES else ())})

    @cached_property
    def _squares(self) -> np.ndarray:
        """By upper bits [2**15]: the sums of the squares of the lower bits."""

        def count(pieces: Iterable[Tensor]) -> np.ndarray:
            table = np.zeros(_COARSE_BINS, dtype=np.int64)
            for piece in pieces:
                _sum_squares(piece, self.size, table)
            return table

        return _add_up(self.pieces(), count)

    def order_statistics(self, ranks: list[int]) -> list[OrderStatistic]:
        """The entries of the given ranks; one pass over the pieces for all bins not yet refined."""
        _check_ranks(ranks, self.size)
        bins = self._bins(ranks)
        self._refine(set(bins))
        found = []
        for rank, b in zip(ranks, bins, strict=True):
            before = int(self.coarse[b - 1]) if b else 0
            fine = self._fine[b]
            low = int(np.searchsorted(fine, rank - before, side="right"))
            below = before + (int(fine[low - 1]) if low else 0)
            value = float(np.uint32((b << _LOW_BITS) | low).view(np.float32))
            found.append(OrderStatistic(value, below, before + int(fine[low]) - below))
        return found

    def norm(self, p: int, kept: int | None = None) -> float:
        """The l1 or l2 norm of the vector, or of its `kept` largest magnitudes; l1 from the counts, without a pass."""
        if kept is not None and kept <= 0:
            return 0.0
        if kept is None or kept >= self.size:
            total = self._power_above(-1, p)
        else:
            (at,) = self.order_statistics([self.size - kept])
            bits = int(np.float32(at.value).view(np.uint32))
            surely = self.size - at.below - at.equal
            total = self._power_above(bits >> _LOW_BITS, p) + self._power_within(bits, p)
            total += (kept - surely) * at.value**p
        return total if p == 1 else sqrt(total)

    def _power_above(self, upper: int, p: int) -> float:
        """The sum of |x| or x**2 over the entries whose upper bits are larger than `upper`."""
        uppers = upper + 1 + np.flatnonzero(self.table[upper + 1 :, 0])
        significand, unit = _scale_of(uppers)
        count, low = self.table[uppers].T.astype(np.float64)
        if p == 1:
            return float(((significand * count + low) * unit).sum())
        square = self._squares[uppers].astype(np.float64)
        return float(((significand * (significand * count + 2 * low) + square) * unit**2).sum())

    def _power_within(self, bits: int, p: int) -> float:
        """The same over the entries with the upper bits of `bits` and larger lower bits."""
        upper, low = bits >> _LOW_BITS, bits & (_LOWS - 1)
        counts = np.diff(self._fine[upper][low:]).astype(np.float64)
        significand, unit = _scale_of(np.array(upper))
        values = (significand + np.arange(low + 1, _LOWS)) * unit
        return float((counts * values**p).sum())


def spectrum(vector: Vector) -> Spectrum:
    """The magnitudes of a vector. Raises TadropError if an entry is NaN or infinite."""
    if vector.size <= SMALL:
        values = np.sort(np.concatenate([piece.abs().cpu().double().numpy() for piece in vector.pieces()]))
        _refuse(vector, int((~np.isfinite(values)).sum()))
        return Sorted(values)
    table = _add_up(vector.pieces(), lambda pieces: _upper_table(pieces, vector.size))
    _refuse(vector, int(table[_INFINITY_BIN:, 0].sum()))
    return Counted(vector.size, vector.pieces, table)


def _refuse(vector: Vector, bad: int) -> None:
    if bad:
        raise TadropError(f"task vector {vector.task!r}, {vector.name!r}: {bad} entries are NaN or infinite")


def _keys(values: Tensor) -> Tensor:
    """int32 that sort like the float32 values themselves, negative ones included; -0 counts as 0."""
    bits = (values.float() + 0.0).view(torch.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _counts(rows: Tensor, bins: Tensor, width: int) -> Tensor:
    """How often each bin occurs in each row; [T, width]."""
    offsets = torch.arange(len(rows), device=rows.device).unsqueeze(1) * width
    return torch.bincount((bins + offsets).reshape(-1), minlength=len(rows) * width).view(len(rows), width).cpu()


def order_statistics(blocks: Callable[[], Iterator[Tensor]], ranks: list[int]) -> Tensor:
    """The entries of the given 0-based ascending ranks of every row, [T, len(ranks)] float32.

    blocks() gives the rows piece by piece, [T, n] float32; it is called twice and must give the same bits. Constant
    memory: two histograms of 2**16 bins a row. Raises ValueError for a rank that is not there.
    """
    width = 1 << _LOW_BITS
    coarse = sum(_counts(b, (_keys(b) >> _LOW_BITS) + width // 2, width) for b in blocks()).cumsum(1)
    size = int(coarse[0, -1])
    if any(not 0 <= r < size for r in ranks):
        raise ValueError(f"ranks {ranks} of vectors with {size} entries")
    wanted = torch.tensor(ranks).expand(len(coarse), -1).contiguous()
    bins = torch.searchsorted(coarse, wanted, right=True)
    before = torch.where(bins > 0, coarse.gather(1, (bins - 1).clamp(min=0)), 0)
    fine = torch.zeros(*bins.shape, width, dtype=torch.int64)
    for block in blocks():
        for row, keys in enumerate(_keys(block)):
            upper = (keys >> _LOW_BITS) + width // 2
            for at, b in enumerate(bins[row].tolist()):
                lower = keys[upper == b] & (width - 1)
                fine[row, at] += torch.bincount(lower, minlength=width).cpu()
    low = torch.searchsorted(fine.cumsum(-1), (wanted - before).unsqueeze(-1), right=True).squeeze(-1)
    keys = (((bins - width // 2) << _LOW_BITS) | low).to(torch.int32)
    return (keys ^ ((keys >> 31) & 0x7FFFFFFF)).view(torch.float32)
