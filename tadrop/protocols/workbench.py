"""What a method may ask for, and may put around a module, beside merging weights."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tadrop.types import Slot


@runtime_checkable
class Statistics(Protocol):
    """One tensor per task for the merged tensors that have a statistic.

    A statistic is a Fisher diagonal or a Gram matrix, for example.
    """

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor | None:
        """[task, ...]: whole, or flat entries start to stop, as Stream.taus gives them.

        None for a tensor that has no statistic.
        """
        ...


@runtime_checkable
class Attachment(Protocol):
    """What a method puts around the module beside its weights.

    These are adapters, for example, or experts behind a router.
    """

    def attach(self, module: nn.Module, task: str) -> AbstractContextManager[None]:
        """A context in which the attachment is in effect.

        The merged weights and the task's private tensors are in the module already.
        """
        ...

    def stored_bytes(self) -> int:
        """Bytes that the attachment takes."""
        ...


@runtime_checkable
class Trace(Protocol):
    """The points that a search has evaluated, one after another, with their values."""

    def value(
        self, point: Sequence[float], evaluate: Callable[[Sequence[float]], float]
    ) -> float:
        """The value at the next point: as it is known, or evaluated and noted."""
        ...


@runtime_checkable
class Workbench(Protocol):
    """What a method may do with the model and the tasks' data beside merging weights.

    tadrop.evaluation.bench has the one that runs use.
    """

    @property
    def module(self) -> nn.Module: ...

    @property
    def device(self) -> torch.device: ...

    def head(self) -> str:
        """The name of the submodule whose input is the features.

        Raises TadropError for a model that names none.
        """
        ...

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copies weights into the module in place."""
        ...

    def theta0(self, name: str) -> Tensor:
        """One tensor of the base, float32, on the device."""
        ...

    def expert(self, task: str, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """The weights of a task's own model, one at a time."""
        ...

    def equip(self, task: str) -> None:
        """Puts a task's private tensors (its head) into the module."""
        ...

    def slots(self, names: Iterable[str]) -> Mapping[str, Slot]:
        """Where these tensors sit in the module's parameters.

        A tensor that is no part of a parameter is left out.
        """
        ...

    def samples(
        self,
        task: str,
        split: str,
        size: int,
        *words: object,
    ) -> Iterator[Any]:
        """Endless shuffled batches of inputs, on the device.

        The words decide the order.
        """
        ...

    def features(
        self,
        task: str,
        split: str,
        limit: int | None = None,
        *words: object,
    ) -> Tensor:
        """What the module as it is hands to the head, [example, width].

        The split in order, or `limit` examples that the words draw from it.
        """
        ...

    def trace(
        self,
        formula: Callable[..., Any],
        tasks: Iterable[str],
        split: str,
        *words: object,
    ) -> AbstractContextManager[Trace]:
        """The trace of a search over models that are scored on these tasks' split.

        A search that was stopped, or made before, finds its own again. It is named by
        the formula's code, the checkpoints, the data and the words, which say all else
        that a value depends on; how many points are evaluated is no part of it.
        """
        ...

    def score(self, task: str, split: str) -> float:
        """The task's metric over one split, with the task's private tensors.

        It is that of the module as it is.
        """
        ...
