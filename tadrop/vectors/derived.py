"""What a stream made of another one has in common with it: all but the vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tadrop.protocols.streams import Cut, Cuts, Stream
from tadrop.types import MatrixLayout, Taus


@dataclass(frozen=True)
class Derived(Stream):
    """A stream over the same tensors as its source.

    A class of this kind adds `taus` and `vector`. Its vectors count as new ones, which
    nothing has cut, unless it says otherwise.
    """

    source: Stream

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.source.tasks

    @property
    def order(self) -> tuple[int, ...]:
        return self.source.order

    @property
    def names(self) -> tuple[str, ...]:
        return self.source.names

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.source.shapes

    @property
    def matrix_layouts(self) -> Mapping[str, MatrixLayout]:
        return self.source.matrix_layouts

    @property
    def device(self) -> torch.device:
        return self.source.device

    def uncut(self) -> Stream:
        """See Stream."""
        return self

    def cuts(self) -> Cuts:
        """See Stream."""
        return {}

    @property
    def found(self) -> Mapping[str, Any]:
        return self.source.found

    def plan(self) -> None:
        """See Stream."""
        self.source.plan()

    def cut_taus(
        self,
        name: str,
        cuts: Sequence[tuple[Cut, int]],
        start: int = 0,
        stop: int | None = None,
    ) -> Taus:
        """See Stream."""
        taus = self.taus(name, start, stop)
        for tau, (cut, offset) in zip(taus, cuts, strict=True):
            cut.apply_(tau, offset + start)
        return taus

    def theta0(
        self,
        name: str,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Tensor, "*shape"]:
        """See Stream."""
        return self.source.theta0(name, start, stop)
