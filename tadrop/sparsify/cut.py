"""Cuts: what a sparsifier decides about one vector, small enough to keep and exact to
replay piece by piece.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.seeds import key
from tadrop.protocols import Cut
from tadrop.types import Tau

GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def draws(
    words: tuple[object, ...], start: int, size: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Uniform whole numbers in [0, 2**32), int64: entry i of the sequence that belongs
    to the words, i from start.

    SplitMix64 (Steele, Lea, Flood 2014) evaluated at key + i // 2; even entries take
    the lower half, odd the upper. Addressed by index, so any piece can be drawn alone,
    on any device, with the same bits.
    """
    first = start // 2
    z = torch.arange(first, (start + size + 1) // 2, device=device) * _signed(
        GOLDEN
    ) + _signed(key(*words))
    for shift, factor in ((30, _signed(_MIX1)), (27, _signed(_MIX2)), (31, 1)):
        z = (
            z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))
        ) * factor  # int64 wraps; the mask makes the shift logical
    halves = torch.stack((z & 0xFFFFFFFF, (z >> 32) & 0xFFFFFFFF), dim=1).reshape(-1)
    return halves[start - 2 * first :][:size]


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


@dataclass(frozen=True)
class RandomCut(Cut):
    """Keeps each entry with probability keep, by a draw that depends on the seed words
    and the index alone.
    """

    words: tuple[object, ...]
    size: int
    keep: float
    scale: float

    @property
    def limit(self) -> int:
        """Draws below it keep their entry."""
        return min(round(self.keep * 2**32), 2**32 - 1)

    def keeps(self, tau: Tau, start: int = 0) -> Tensor:
        """The mask of survivors, of tau's shape."""
        return (draws(self.words, start, tau.numel(), tau.device) < self.limit).view(
            tau.shape
        )

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        if self.keep == 1:
            return tau
        if self._compiled(tau, start):
            return self.apply_(tau.clone(), start)
        return torch.where(self.keeps(tau, start), tau * self.scale, 0)

    def apply_(self, tau: Tau, start: int = 0) -> Tau:
        if self.keep == 1 or not self._compiled(tau, start):
            return super().apply_(tau, start)
        from tadrop.numerics import kernels

        state = (key(*self.words) + start // 2 * GOLDEN) % 2**64
        kernels.cut_random(
            compiled.array(tau.view(-1)),
            np.uint64(state),
            self.scale,
            np.uint32(self.limit),
        )
        return tau

    def _compiled(self, tau: Tau, start: int) -> bool:
        return compiled.serves(self.size, tau) and start % 2 == 0

    def facts(self) -> dict[str, float]:
        return {"keep": self.keep, "scale": self.scale}
