"""The cut that keeps the largest magnitudes: a threshold, where ties end, and a factor."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.quantile import Spectrum
from tadrop.protocols import Cut
from tadrop.types import TadropError, Tau


@dataclass(frozen=True)
class TopCut(Cut):
    """Keeps |tau| > threshold, and |tau| == threshold at flat indices below tie_end;
    survivors times scale.
    """

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
        if (self.kept == self.size and self.scale == 1) or not compiled.serves(
            self.size, tau
        ):
            return super().apply_(tau, start)
        from tadrop.numerics import kernels

        flat = compiled.array(tau.view(-1))
        ties = min(max(self.tie_end - start, 0), len(flat))
        if ties:
            kernels.cut_from(flat[:ties], self.threshold, self.scale)
        if ties < len(flat):
            kernels.cut_above(flat[ties:], self.threshold, self.scale)
        return tau

    def facts(self) -> dict[str, float]:
        facts = {
            "size": self.size,
            "kept": self.kept,
            "threshold": self.threshold,
            "scale": self.scale,
        }
        return facts if self.ratio is None else facts | {"ratio": self.ratio}


def top(magnitudes: Spectrum, count: int, equals: bool = False) -> TopCut:
    """The cut that keeps exactly the `count` largest magnitudes; among equals the
    lowest flat indices stay.

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
    """The cut with the factor that gives survivors the norm of the whole vector; 1
    where nothing is left.
    """
    p = NORMS[rule]
    if p == 0 or cut.kept == cut.size:
        return cut
    after = magnitudes.norm(p, cut.kept)
    return replace(cut, scale=magnitudes.norm(p) / after if after else 1.0)
