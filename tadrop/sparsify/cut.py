"""Cuts: what a sparsifier decides about one vector, small enough to keep and exact to replay piece by piece."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tadrop import compiled
from tadrop.quantile import Spectrum
from tadrop.seeds import key
from tadrop.types import Cut, TadropError, Tau


@dataclass(frozen=True)
class TopCut(Cut):
    """Keeps |tau| > threshold, and |tau| == threshold at flat indices below tie_end; survivors times scale."""

    size: int
    kept: int
    threshold: float
    tie_end: int
    scale: float = 1.0
    ratio: float | None = None

    def keeps(self, tau: Tau, start: int = 0) -> Tensor:
        """The mask of survivors, of tau's shape."""
        magnitude = tau.abs()
        mask = magnitude > self.threshold
        if self.tie_end > start:
            ties = (magnitude == self.threshold).reshape(-1)
            ties[max(self.tie_end - start, 0) :] = False
            mask |= ties.view(mask.shape)
        return mask

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        if self.kept == self.size and self.scale == 1:
            return tau
        if compiled.serves(self.size, tau):
            return self.apply_(tau.clone(), start)
        return torch.where(self.keeps(tau, start), tau * self.scale, 0)

    def apply_(self, tau: Tau, start: int = 0) -> Tau:
        if (self.kept == self.size and self.scale == 1) or not compiled.serves(self.size, tau):
            return super().apply_(tau, start)
        from tadrop import kernels

        flat = compiled.array(tau.view(-1))
        ties = min(max(self.tie_end - start, 0), len(flat))
        if ties:
            kernels.cut_from(flat[:ties], self.threshold, self.scale)
        if ties < len(flat):
            kernels.cut_above(flat[ties:], self.threshold, self.scale)
        return tau

    def facts(self) -> dict[str, float]:
        facts = {"size": self.size, "kept": self.kept, "threshold": self.threshold, "scale": self.scale}
        return facts if self.ratio is None else facts | {"ratio": self.ratio}


GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def draws(words: tuple[object, ...], start: int, size: int, device: torch.device | str = "cpu") -> Tensor:
    """Uniform whole numbers in [0, 2**32), int64: entry i of the sequence that belongs to the words, i from start.

    SplitMix64 (Steele, Lea, Flood 2014) evaluated at key + i // 2; even entries take the lower half, odd the upper.
    Addressed by index, so any piece can be drawn alone, on any device, with the same bits.
    """
    first = start // 2
    z = torch.arange(first, (start + size + 1) // 2, device=device) * _signed(GOLDEN) + _signed(key(*words))
    for shift, factor in ((30, _signed(_MIX1)), (27, _signed(_MIX2)), (31, 1)):
        z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor  # int64 wraps; the mask makes the shift logical
    halves = torch.stack((z & 0xFFFFFFFF, (z >> 32) & 0xFFFFFFFF), dim=1).reshape(-1)
    return halves[start - 2 * first :][:size]


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


@dataclass(frozen=True)
class RandomCut(Cut):
    """Keeps each entry with probability keep, by a draw that depends on the seed words and the index alone."""

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
        return (draws(self.words, start, tau.numel(), tau.device) < self.limit).view(tau.shape)

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        if self.keep == 1:
            return tau
        if self._compiled(tau, start):
            return self.apply_(tau.clone(), start)
        return torch.where(self.keeps(tau, start), tau * self.scale, 0)

    def apply_(self, tau: Tau, start: int = 0) -> Tau:
        if self.keep == 1 or not self._compiled(tau, start):
            return super().apply_(tau, start)
        from tadrop import kernels

        state = (key(*self.words) + start // 2 * GOLDEN) % 2**64
        kernels.cut_random(compiled.array(tau.view(-1)), np.uint64(state), self.scale, np.uint32(self.limit))
        return tau

    def _compiled(self, tau: Tau, start: int) -> bool:
        return compiled.serves(self.size, tau) and start % 2 == 0

    def facts(self) -> dict[str, float]:
        return {"keep": self.keep, "scale": self.scale}


def top(magnitudes: Spectrum, count: int, equals: bool = False) -> TopCut:
    """The cut that keeps exactly the `count` largest magnitudes; among equals the lowest flat indices stay.

    equals: keep all that are as large as the smallest of them
    """
    size = magnitudes.size
    if count >= size:
        return TopCut(size, size, -1.0, 0)
    if count <= 0:
        return TopCut(size, 0, float("inf"), 0)
    (at,) = magnitudes.order_statistics([size - count])
    if equals:
        return TopCut(size, size - at.below, at.value, size)
    wanted = count - (size - at.below - at.equal)
    tie_end = size if wanted == at.equal else magnitudes.nth_equal(at.value, wanted) + 1
    return TopCut(size, count, at.value, tie_end)


NORMS = {"none": 0, "l1": 1, "l2": 2}


def check_norm(rule: str) -> None:
    """Raises TadropError unless the rule is none, l1 or l2."""
    if rule not in NORMS:
        raise TadropError(f"norm is {rule!r}; it must be one of {', '.join(NORMS)}")


def restored(magnitudes: Spectrum, cut: TopCut, rule: str) -> TopCut:
    """The cut with the factor that gives survivors the norm of the whole vector; 1 where nothing is left."""
    p = NORMS[rule]
    if p == 0 or cut.kept == cut.size:
        return cut
    after = magnitudes.norm(p, cut.kept)
    return replace(cut, scale=magnitudes.norm(p) / after if after else 1.0)
