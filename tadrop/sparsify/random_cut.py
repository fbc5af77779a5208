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
from tadrop.sparsify.draws import draws
from tadrop.types import GOLDEN, Tau


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
        from tadrop.numerics.kernels import entries as kernels

        kernels.cut_random(
            compiled.array(tau.view(-1)),
            np.uint64((key(*self.words) + start // 2 * GOLDEN) % 2**64),
            self.factor,
            np.uint32(self.limit),
        )
        return tau

    def _compiled(self, tau: Tau, start: int) -> bool:
        return compiled.serves(self.size, tau) and start % 2 == 0
