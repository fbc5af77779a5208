"""The cut that keeps the largest magnitudes: a threshold, an order of equals, a factor.

Where some of the entries that are as large as the threshold stay and some go, an order
that is drawn for (task, vector name) decides, so that no part of a tensor, and no
tensor of a model, is favoured. The order does not depend on a run's seed: a run without
chance is the same for all seeds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.seeds import key
from tadrop.numerics.spectrum import OrderStatistic, Spectrum
from tadrop.protocols.streams import Cut
from tadrop.sparsify.draws import LOWEST, nth_word, ranks
from tadrop.types import ALL, Facts, TadropError, Tau, Threshold, Vector


@dataclass(frozen=True)
class TopCut(Cut):
    """Keeps |tau| > threshold, and of |tau| == threshold those of the first words.

    Survivors are multiplied by factor. order, limit: of equal entries those stay whose
    word in the sequence of `order` is at most `limit`; see Threshold. zeros: the whole
    vector is zero.
    """

    size: int
    kept: int
    threshold: float
    factor: float = 1.0
    ratio: float | None = None
    order: int = 0
    limit: int = ALL
    zeros: bool = False

    def keeps(self, tau: Tau, start: int = 0) -> Tensor:
        """The mask of survivors, of tau's shape."""
        magnitude = tau.abs()
        if self.limit == ALL:
            return magnitude >= self.threshold
        mask = (magnitude > self.threshold).reshape(-1)
        equal = (magnitude == self.threshold).reshape(-1)
        (index,) = torch.nonzero(equal, as_tuple=True)
        mask[index] = ranks(self.order, index + start) <= self.limit + LOWEST
        return mask.view(tau.shape)

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
        from tadrop.numerics.kernels import entries as kernels

        flat = compiled.array(tau.view(-1))
        if self.limit == ALL:
            kernels.cut_from(flat, self.threshold, self.factor)
        else:
            state = np.uint64(self.as_threshold().state(start))
            limit = np.uint64(self.limit)
            kernels.cut_among(flat, self.threshold, self.factor, state, limit)
        return tau

    def as_threshold(self) -> Threshold:
        """See Cut."""
        return Threshold(self.threshold, self.factor, self.order, self.limit)

    def facts(self) -> Facts:
        """See Cut."""
        return Facts(self.size, self.kept, self.factor, self.ratio, self.zeros)


# What happens to entries as large as the threshold where not all of them fit the count.
EQUALS = ("drawn", "all")


def check_equals(word: str) -> None:
    """Raises TadropError unless the word is drawn or all."""
    if word not in EQUALS:
        raise TadropError(f"equals is {word!r}; it must be {' or '.join(EQUALS)}")


def top(
    vector: Vector,
    magnitudes: Spectrum,
    count: int,
    equals: str = "drawn",
) -> TopCut:
    """The cut that keeps the `count` largest magnitudes of a vector.

    equals: drawn, which keeps exactly so many, or all, which keeps every entry that is
            as large as the smallest of them
    """
    size = magnitudes.size
    if count >= size:
        return TopCut(size, size, -1.0)
    if count <= 0:
        return TopCut(size, 0, float("inf"))
    (smallest,) = magnitudes.order_statistics([size - count])
    if equals == "all":
        return TopCut(size, size - smallest.below, smallest.value)
    cut = TopCut(size, count, smallest.value)
    room = count - (size - smallest.below - smallest.equal)
    # Zeros stay zero whether they are kept or not.
    if room == smallest.equal or smallest.value == 0:
        return cut
    return _drawn(cut, vector, magnitudes, smallest, room)


def _drawn(
    cut: TopCut,
    vector: Vector,
    magnitudes: Spectrum,
    smallest: OrderStatistic,
    room: int,
) -> TopCut:
    """The cut that keeps so many of the entries at the threshold, by their words."""
    order = key("equals", vector.task, vector.name)

    def places() -> Iterator[np.ndarray]:
        return magnitudes.places(smallest.value)

    limit = nth_word(order, places, smallest.equal, room)
    return replace(cut, order=order, limit=limit)


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
