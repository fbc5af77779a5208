"""What the parts of the suite ask of one another: streams of task vectors, cuts,
sparsifiers, tasks, the workbench.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tadrop.types import Layout, Slot, Tau, Taus, Vector


class Cut(Protocol):
    """Which entries of one task's vector survive, and by how much they are rescaled.

    Applying a cut is elementwise, so a tensor can be cut piece by piece: `start` is the
    piece's first flat index.
    """

    def apply(self, tau: Tau, start: int = 0) -> Tau:
        """The survivors, rescaled, and zeros; of tau's shape. May be tau itself where
        nothing changes.
        """
        ...

    def apply_(self, tau: Tau, start: int = 0) -> Tau:
        """apply() in place."""
        survivors = self.apply(tau, start)
        return tau if survivors is tau else tau.copy_(survivors)

    def facts(self) -> dict[str, float]: ...


class Stream(Protocol):
    """Task vectors, read tensor by tensor in a fixed order and as often as wanted.

    layouts: what a tensor is to per-matrix methods; a tensor that is not in it is no
    matrix
    uncut:   the stream before its last sparsifier, or itself
    found:   what a search settled on to make these vectors, for the record; mostly nothing
    """

    tasks: tuple[str, ...]
    names: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    layouts: Mapping[str, Layout]
    uncut: "Stream"
    found: Mapping[str, Any]

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        """The whole tensor [task, *shape], or its flat entries start to stop, [task,
        stop - start]; float32.
        """
        ...

    def vector(self, task: int, name: str | None) -> Vector:
        """One task's tensor, or with None the concatenation of all tensors in the order
        of `names`.
        """
        ...

    def theta0(
        self, name: str, start: int = 0, stop: int | None = None
    ) -> Float[Tensor, "*shape"]:
        """The pretrained tensor, or its flat entries start to stop; float32."""
        ...


@dataclass(frozen=True)
class Derived:
    """What a stream made of another one has in common with it: everything but the
    vectors.
    """

    source: Stream

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.source.tasks

    @property
    def names(self) -> tuple[str, ...]:
        return self.source.names

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.source.shapes

    @property
    def layouts(self) -> Mapping[str, Layout]:
        return self.source.layouts

    @property
    def device(self) -> torch.device:
        return getattr(self.source, "device", torch.device("cpu"))

    def theta0(
        self, name: str, start: int = 0, stop: int | None = None
    ) -> Float[Tensor, "*shape"]:
        """See Stream."""
        return self.source.theta0(name, start, stop)


class Sparsifier(Protocol):
    """A rule that plans a cut for one vector. scope: the vector is one tensor, one
    layer, or the whole model.

    A rule that ranks entries by row (last axis) has by_rows = True; its cuts are
    applied to whole rows.
    """

    scope: str

    def plan(self, vector: Vector) -> Cut: ...


class Tasks(Protocol):
    """A set of tasks: their data, split by split, and how outputs are graded.

    names:    the tasks, in the order in which tables show them
    metric:   what the mean of the graded values is called
    protocol: what a number depends on beside the data, in words, for the record

    A split is train, validation or test.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def metric(self) -> str: ...

    @property
    def protocol(self) -> str: ...

    def needs(self) -> list[str]:
        """Which data sets are not at hand, a line each. Looking downloads nothing."""
        ...

    def batches(self, task: str, split: str) -> Iterator[tuple[Any, Tensor]]:
        """Inputs and targets, in an order that depends on the data alone.

        Inputs come ready for the model: a tensor, or a mapping or dataclass of tensors
        (tadrop.modules.batches).
        """
        ...

    def grade(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What is kept of each example of a batch, [example, ...].

        It is one value each, whose mean is the metric, or whatever `measure` needs.
        """
        ...

    def measure(
        self, task: str, split: str, kept: Tensor
    ) -> Mapping[str, float] | None:
        """The metrics of a whole split by name, the reported one first.

        kept is what `grade` gave for all of its examples. None where the metric is the
        mean of it; a recall among all, a correlation or CIDEr is no mean.
        """
        ...

    def fingerprint(self, task: str, split: str) -> str:
        """A hash of a split's data, 16 hex digits."""
        ...


class ImageEntry(Protocol):
    """What a model may ask of one image task's entry in a registry.

    hub, tall: the task's name in the file names of either lineage of checkpoints
    templates: prompts in which {} stands for a class name
    """

    @property
    def hub(self) -> str: ...

    @property
    def tall(self) -> str: ...

    @property
    def templates(self) -> Sequence[str]: ...


class LabelledImages(Protocol):
    """A split in memory or mapped: images uint8 [n, size, size, 3] and labels [n]."""

    @property
    def images(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray: ...


@runtime_checkable
class ImageTasks(Protocol):
    """What tasks of images with class names can do beside what Tasks says.

    A model that needs it asks isinstance(tasks, ImageTasks), and refuses other tasks.
    """

    @property
    def names(self) -> Sequence[str]: ...

    def entry(self, task: str) -> ImageEntry:
        """What the registry says of a task."""
        ...

    def classes(self, task: str) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        ...

    def published(self, source: str, model: str) -> dict[str, float]:
        """Accuracies in percent that a source reports of its individual models, by task.

        A task whose data are not those of the source is left out.
        """
        ...

    def images(self, task: str, split: str) -> LabelledImages:
        """A whole split."""
        ...


class Statistics(Protocol):
    """One tensor per task for the merged tensors that have a statistic, such as a
    Fisher diagonal or a Gram matrix.
    """

    def block(
        self, name: str, start: int = 0, stop: int | None = None
    ) -> Tensor | None:
        """[task, ...]: whole, or flat entries start to stop, as Stream.taus gives them;
        None where there is none.
        """
        ...


class Attachment(Protocol):
    """What a method puts around the module beside its weights: adapters, or experts
    behind a router.
    """

    def attach(self, module: nn.Module, task: str) -> AbstractContextManager[None]:
        """In effect while the block lasts; the merged weights and the task's private
        tensors are in place.
        """
        ...

    def stored_bytes(self) -> int: ...


class Workbench(Protocol):
    """What a method may do with the model and the tasks' data beside merging weights.
    See evaluate.Bench.
    """

    module: nn.Module
    device: torch.device
    head: str  # the name of the submodule whose input is the features

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

    def places(self, names: Iterable[str]) -> Mapping[str, Slot]:
        """Where these tensors lie in the module's parameters; what is no part of a
        parameter is left out.
        """
        ...

    def samples(
        self, task: str, split: str, size: int, *words: object
    ) -> Iterator[Any]:
        """Endless shuffled batches of inputs, on the device; the words decide the
        order.
        """
        ...

    def features(
        self, task: str, split: str, limit: int | None = None, *words: object
    ) -> Tensor:
        """What the module as it is hands to the head, [example, width]: the split in
        order, or `limit` drawn ones.
        """
        ...

    def score(self, task: str, split: str) -> float:
        """The task's metric over one split, for the module as it is with the task's
        private tensors.
        """
        ...
