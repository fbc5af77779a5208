"""Cuts: what a sparsifier decides about one vector, small enough to keep and exact to replay piece by piece."""

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from tadrop.quantile import Spectrum
from tadrop.seeds import generator
from tadrop.types import Tau, TadropError, Vector


@dataclass(frozen=True)
class TopCut:
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
        return torch.where(self.keeps(tau, start), tau * self.scale, 0)

    def facts(self) -> dict[str, float]:
        facts = {"size": self.size, "kept": self.kept, "threshold": self.threshold, "scale": self.scale}
        return facts if self.ratio is None else facts | {"ratio": self.ratio}


@dataclass(frozen=True)
class RandomCut:
    """Keeps each entry with probability keep, by a draw that depends on the seed words and the index alone."""

    words: tuple[object, ...]
    keep: float
    scale: float

    def keeps(self, tau: Tau, start: int = 0) -> Tensor:
        """The mask of survivors, of tau's shape. Two entries share one 64-bit draw."""
        size, skip = tau.numel(), start % 2
        draws = generator(*self.words, offset=start // 2).bit_generator.random_raw((size + skip + 1) // 2)
        limit = min(round(self.keep * 2**32), 2**32 - 1)
        mask = draws.astype("<u8", copy=False).view("<u4")[skip : skip + size] < np.uint32(limit)
        return torch.from_numpy(mask).to(tau.device).view(tau.shape)

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        return tau if self.keep == 1 else torch.where(self.keeps(tau, start), tau * self.scale, 0)

    def facts(self) -> dict[str, float]:
        return {"keep": self.keep, "scale": self.scale}


def top(vector: Vector, spectrum: Spectrum, count: int) -> TopCut:
    """The cut that keeps exactly the `count` largest magnitudes; among equals the lowest flat indices stay."""
    if count >= vector.size:
        return TopCut(vector.size, vector.size, -1.0, 0)
    if count <= 0:
        return TopCut(vector.size, 0, float("inf"), 0)
    (at,) = spectrum.order_statistics([vector.size - count])
    wanted = count - (vector.size - at.below - at.equal)
    tie_end = vector.size if wanted == at.equal else _index_after_tie(vector, at.value, wanted)
    return TopCut(vector.size, count, at.value, tie_end)


def _index_after_tie(vector: Vector, value: float, wanted: int) -> int:
    """One past the flat index of the wanted-th entry whose magnitude is value."""
    start = 0
    for piece in vector.pieces():
        (ties,) = torch.nonzero(piece.abs() == value, as_tuple=True)
        if len(ties) >= wanted:
            return start + int(ties[wanted - 1]) + 1
        wanted -= len(ties)
        start += len(piece)
    raise AssertionError("the spectrum counted ties that the vector does not have")


def norm(vector: Vector, p: int, cut: TopCut | None = None) -> float:
    """The l1 or l2 norm of the vector, or of what the cut keeps of it, summed in float64."""
    total, start = 0.0, 0
    for piece in vector.pieces():
        kept = piece if cut is None else piece[cut.keeps(piece, start)]
        kept = kept.double()
        total += float(kept.abs().sum() if p == 1 else kept.square().sum())
        start += len(piece)
    return total if p == 1 else sqrt(total)


NORMS = {"none": 0, "l1": 1, "l2": 2}


def check_norm(rule: str) -> None:
    """Raises TadropError unless the rule is none, l1 or l2."""
    if rule not in NORMS:
        raise TadropError(f"norm is {rule!r}; it must be one of {', '.join(NORMS)}")


def restored(vector: Vector, cut: TopCut, rule: str) -> TopCut:
    """The cut with the factor that gives survivors the norm of the whole vector; 1 where nothing is left."""
    p = NORMS[rule]
    if p == 0 or cut.kept == cut.size:
        return cut
    after = norm(vector, p, cut)
    scale = norm(vector, p) / after if after else 1.0
    return replace(cut, scale=scale)
