"""Task vectors as a stream, cuts of them, and the rules that plan cuts."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from tadrop.types import Facts, MatrixLayout, Tau, Taus, Threshold, Vector


@runtime_checkable
class Cut(Protocol):
    """Which entries of one task's vector survive, and by how much they are rescaled.

    Applying a cut is elementwise, so a tensor can be cut piece by piece: `start` is the
    piece's first flat index.
    """

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        """The survivors, rescaled, and zeros, of tau's shape.

        It may be tau itself where nothing changes.
        """
        ...

    def apply_(self, tau: Tau, start: int = 0) -> Tau:
        """apply() in place."""
        survivors = self.apply(tau, start)
        return tau if survivors is tau else tau.copy_(survivors)

    def as_threshold(self) -> Threshold | None:
        """The same cut as a threshold, which is applied as entries are read.

        None for a cut that is no threshold.
        """
        return None

    def facts(self) -> Facts | None:
        """What the cut does to its vector; None where that is left to chance."""
        return None


# Cuts by (task, what the cut covers: see tadrop.vectors.names.cut_name).
Cuts = Mapping[tuple[str, str], Cut]


@runtime_checkable
class Stream(Protocol):
    """Task vectors, read tensor by tensor in a fixed order and as often as wanted."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order of their names, which is that of every task axis."""
        ...

    @property
    def order(self) -> tuple[int, ...]:
        """The indices of the tasks in the order in which the user named them."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The merged tensors."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    @property
    def matrix_layouts(self) -> Mapping[str, MatrixLayout]:
        """What tensors are to per-matrix methods;
        one that is not in it is no matrix.
        """
        ...

    @property
    def device(self) -> torch.device:
        """Where tensors are read to."""
        ...

    def uncut(self) -> "Stream":
        """The stream before its last sparsifier, or itself."""
        ...

    def cuts(self) -> Cuts:
        """The cuts of its last sparsifier that are planned;
        empty where nothing cuts.
        """
        ...

    @property
    def found(self) -> Mapping[str, Any]:
        """What a search settled on to make these vectors, for the record;
        often empty.
        """
        ...

    def plan(self) -> None:
        """Prepares for a pass over all entries: plans every cut that is not planned.

        Reading does so too, one cut at a time and each when it is first needed.
        """
        ...

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        """The whole tensor, [task, *shape], float32; the caller's own.

        With start or stop only its flat entries start to stop, [task, stop - start].
        """
        ...

    def cut_taus(
        self,
        name: str,
        cuts: Sequence[tuple[Cut, int]],
        start: int = 0,
        stop: int | None = None,
    ) -> Taus:
        """taus(), cut as the entries are read.

        cuts: one per task, each with the tensor's first flat index in what it covers
        """
        ...

    def vector(self, task: int, name: str | None) -> Vector:
        """One task's tensor, or for None all of its tensors one after another.

        They come in the order of `names`.
        """
        ...

    def theta0(
        self,
        name: str,
        start: int = 0,
        stop: int | None = None,
    ) -> Float[Tensor, "*shape"]:
        """The pretrained tensor, or its flat entries start to stop; float32."""
        ...


@runtime_checkable
class Sparsifier(Protocol):
    """A rule that plans a cut for one vector."""

    @property
    def scope(self) -> str:
        """What a vector is: one tensor, the tensors of one layer, or the whole model.

        The words are tensor, layer and model.
        """
        ...

    @property
    def by_rows(self) -> bool:
        """Whether a cut must be shown whole matrix rows (along the last axis)."""
        ...

    def plan(self, vector: Vector) -> Cut:
        """The cut of one vector."""
        ...

    @property
    def following(self) -> "Sparsifier | None":
        """The rule that cuts what this one has left; None for most rules."""
        ...

    def stand_in(self, cuts: Cuts) -> "Sparsifier | None":
        """The rule that cuts in this one's place, now that all of its cuts are known.

        None, as for most rules, where these cuts are the ones to apply.
        """
        ...


@runtime_checkable
class Redealt(Sparsifier, Protocol):
    """A method's own rule whose density TADrop can share out among the vectors anew."""

    @property
    def density(self) -> float:
        """The share of entries kept, over all vectors."""
        ...

    def redealt(
        self, table: Mapping[tuple[str, str], Facts], scope: str
    ) -> "Sparsifier | None":
        """The rule with the share of each vector that the table says, by (task, vector).

        None for a rule that keeps the largest magnitudes: TADrop's cut does that.
        """
        ...
