"""The cut that keeps the largest magnitudes: a threshold, where ties end, a factor."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.spectrum import Spectrum
from tadrop.protocols.streams import Cut
from tadrop.types import Facts, TadropError, Tau, Threshold


@dataclass(frozen=True)
class TopCut(Cut):
    """Keeps |tau| > threshold, and |tau| == threshold at flat indices below tie_end.

    Survivors are multiplied by factor.
    """

    size: int
    kept: int
    threshold: float
    tie_end: int
    factor: float = 1.0
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

    @property
    def _changes_nothing(self) -> bool:
        return self.kept == self.size and self.factor == 1

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        """See Cut."""
        if self._changes_nothing:
            return tau
        if compiled.serves(self.size, tau):
            return self.apply_(tau.clone(), start)
        return torch.where(self.keeps(tau, start), tau * self.factor, 0)

    def apply_(self, tau: Tau, start: int = 0) -> Tau:
        """See Cut."""
        if self._changes_nothing or not compiled.serves(self.size, tau):
            return super().apply_(tau, start)
        from tadrop.numerics import kernels

        flat = compiled.array(tau.view(-1))
        ties = min(max(self.tie_end - start, 0), len(flat))
        if ties:
            kernels.cut_from(flat[:ties], self.threshold, self.factor)
        if ties < len(flat):
            kernels.cut_above(flat[ties:], self.threshold, self.factor)
        return tau

    def as_threshold(self) -> Threshold:
        """See Cut."""
        return Threshold(self.threshold, self.tie_end, self.factor)

    def facts(self) -> Facts:
        """See Cut."""
        return Facts(self.size, self.kept, self.factor, self.ratio)


def top(magnitudes: Spectrum, count: int, equals: bool = False) -> TopCut:
    """The cut that keeps exactly the `count` largest magnitudes.

    Among equals the lowest flat indices stay. equals: keep all that are as large as the
    smallest of them instead
    """
    size = magnitudes.size
    if count >= size:
        return TopCut(size, size, -1.0, 0)
    if count <= 0:
        return TopCut(size, 0, float("inf"), 0)
    (smallest,) = magnitudes.order_statistics([size - count])
    if equals:
        return TopCut(size, size - smallest.below, smallest.value, size)
    ties = count - (size - smallest.below - smallest.equal)
    if ties == smallest.equal:
        return TopCut(size, count, smallest.value, size)
    last = magnitudes.nth_equal(smallest.value, ties)
    return TopCut(size, count, smallest.value, last + 1)


NORMS = {"none": 0, "l1": 1, "l2": 2}


def check_norm(rule: str) -> None:
    """Raises TadropError unless the rule is none, l1 or l2."""
    if rule not in NORMS:
        raise TadropError(f"norm is {rule!r}; it must be one of {', '.join(NORMS)}")


def restored(magnitudes: Spectrum, cut: TopCut, rule: str) -> TopCut:
    """The cut with the factor that gives survivors the norm of the whole vector.

    The factor is 1 where nothing is left.
    """
    p = NORMS[rule]
    if p == 0 or cut.kept == cut.size:
        return cut
    after = magnitudes.norm(p, cut.kept)
    return replace(cut, factor=magnitudes.norm(p) / after if after else 1.0)
