"""Exact order statistics of magnitudes, for vectors of any size.

torch.quantile refuses more than 2**24 entries and sorting costs a copy. The bits of a non-negative float32 sort like
the number itself, so a histogram of the upper 15 bits and a second one of the lower 16 bits inside the few bins that
matter give any order statistic exactly, in two passes over pieces of any length and with constant memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import floor

import torch
from torch import Tensor

from tadrop.types import TadropError, Vector

_LOW_BITS = 16
_COARSE_BINS = 1 << (31 - _LOW_BITS)
_INFINITY_BIN = 0x7F80  # upper bits of infinity and NaN


@dataclass(frozen=True)
class OrderStatistic:
    """The value of one rank with its place: `below` entries are smaller, `equal` entries share the value."""

    value: float
    below: int
    equal: int


def _bits(piece: Tensor) -> Tensor:
    return piece.abs().view(torch.int32)


@dataclass
class Spectrum:
    """The magnitudes of one vector, counted by value. Ranks are 0-based and ascending."""

    size: int
    pieces: Callable[[], Iterator[Tensor]]
    coarse: Tensor  # [2**15] counts by upper bits, cumulated
    _fine: dict[int, Tensor] = field(default_factory=dict)

    def _refine(self, bins: set[int]) -> None:
        missing = sorted(bins - self._fine.keys())
        if not missing:
            return
        counts = {b: torch.zeros(1 << _LOW_BITS, dtype=torch.int64) for b in missing}
        for piece in self.pieces():
            bits = _bits(piece)
            upper = bits >> _LOW_BITS
            for b in missing:
                lower = bits[upper == b] & ((1 << _LOW_BITS) - 1)
                counts[b] += torch.bincount(lower, minlength=1 << _LOW_BITS).cpu()
        self._fine |= {b: c.cumsum(0) for b, c in counts.items()}

    def order_statistics(self, ranks: list[int]) -> list[OrderStatistic]:
        """The entries of the given ranks; one pass over the pieces for all bins not yet refined."""
        if any(not 0 <= r < self.size for r in ranks):
            raise ValueError(f"ranks {ranks} of a vector with {self.size} entries")
        bins = torch.searchsorted(self.coarse, torch.tensor(ranks), right=True).tolist()
        self._refine(set(bins))
        found = []
        for rank, b in zip(ranks, bins, strict=True):
            before = int(self.coarse[b - 1]) if b else 0
            fine = self._fine[b]
            low = int(torch.searchsorted(fine, rank - before, right=True))
            below = before + (int(fine[low - 1]) if low else 0)
            value = torch.tensor((b << _LOW_BITS) | low, dtype=torch.int32).view(torch.float32).item()
            found.append(OrderStatistic(value, below, before + int(fine[low]) - below))
        return found

    def quantiles(self, fractions: list[float]) -> list[float]:
        """Linear interpolation between order statistics, as numpy.quantile does by default, in float64."""
        places = [q * (self.size - 1) for q in fractions]
        lows = [floor(p) for p in places]
        highs = [min(low + 1, self.size - 1) for low in lows]
        values = [s.value for s in self.order_statistics(lows + highs)]
        pairs = zip(places, lows, values[: len(lows)], values[len(lows) :], strict=True)
        return [a + (place - low) * (b - a) for place, low, a, b in pairs]


def spectrum(vector: Vector) -> Spectrum:
    """Counts the magnitudes of a vector. Raises TadropError if an entry is NaN or infinite."""
    counts = torch.zeros(_COARSE_BINS, dtype=torch.int64)
    for piece in vector.pieces():
        counts += torch.bincount(_bits(piece) >> _LOW_BITS, minlength=_COARSE_BINS).cpu()
    if bad := int(counts[_INFINITY_BIN:].sum()):
        raise TadropError(f"task vector {vector.task!r}, {vector.name!r}: {bad} entries are NaN or infinite")
    return Spectrum(vector.size, vector.pieces, counts.cumsum(0))
