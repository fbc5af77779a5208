"""Cuts that are drawn: small enough to keep, and exact to replay piece by piece.

The cut by magnitude is top_cut.py.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.seeds import key
from tadrop.protocols.streams import Cut
from tadrop.types import Tau

GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def draws(
    words: tuple[object, ...],
    start: int,
    size: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Uniform whole numbers in [0, 2**32), int64, for entries `start` on.

    They belong to the sequence of the words. SplitMix64 (Steele, Lea, Flood 2014) is
    evaluated at key + i // 2; even entries take the lower half, odd the upper.
    Addressed by index, so any piece can be drawn alone, on any device, with the same
    bits.
    """
    first = start // 2
    index = torch.arange(first, (start + size + 1) // 2, device=device)
    z = index * _signed(GOLDEN) + _signed(key(*words))
    for shift, factor in ((30, _signed(_MIX1)), (27, _signed(_MIX2)), (31, 1)):
        # int64 wraps like uint64; the mask makes the shift a logical one.
        shifted = (z >> shift) & ((1 << (64 - shift)) - 1)
        z = (z ^ shifted) * factor
    halves = torch.stack((z & 0xFFFFFFFF, (z >> 32) & 0xFFFFFFFF), dim=1).reshape(-1)
    return halves[start - 2 * first :][:size]


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


@dataclass(frozen=True)
class RandomCut(Cut):
    """Keeps each entry with probability keep, by a draw.

    The draw depends on the seed words and the index alone.
    """

    words: tuple[object, ...]
    size: int
    keep: float
    factor: float

    @property
    def limit(self) -> int:
        """Draws below it keep their entry."""
        return min(round(self.keep * 2**32), 2**32 - 1)

    def keeps(self, tau: Tau, start: int = 0) -> Tensor:
        """The mask of survivors, of tau's shape."""
        drawn = draws(self.words, start, tau.numel(), tau.device)
        return (drawn < self.limit).view(tau.shape)

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        """See Cut."""
        if self.keep == 1:
            return tau
        if self._compiled(tau, start):
            return self.apply_(tau.clone(), start)
        return torch.where(self.keeps(tau, start), tau * self.factor, 0)

    def apply_(self, tau: Tau, start: int = 0) -> Tau:
        """See Cut."""
        if self.keep == 1 or not self._compiled(tau, start):
            return super().apply_(tau, start)
        from tadrop.numerics import kernels

        kernels.cut_random(
            compiled.array(tau.view(-1)),
            np.uint64((key(*self.words) + start // 2 * GOLDEN) % 2**64),
            self.factor,
            np.uint32(self.limit),
        )
        return tau

    def _compiled(self, tau: Tau, start: int) -> bool:
        return compiled.serves(self.size, tau) and start % 2 == 0
