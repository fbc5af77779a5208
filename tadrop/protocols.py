"""What the parts of the suite ask of one another.

The tests check types at run time too, which is why every protocol allows it; nothing
else asks what an object can do.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tadrop.types import Facts, MatrixLayout, Slot, Tau, Taus, Threshold, Vector


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
    def tasks(self) -> tuple[str, ...]: ...

    @property
    def names(self) -> tuple[str, ...]:
        """The merged tensors."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    @property
    def matrix_layouts(self) -> Mapping[str, MatrixLayout]:
        """What tensors are to per-matrix methods; one that is not in it is no matrix."""
        ...

    @property
    def device(self) -> torch.device:
        """Where tensors are read to."""
        ...

    def uncut(self) -> "Stream":
        """The stream before its last sparsifier, or itself."""
        ...

    def cuts(self) -> Cuts:
        """The cuts of its last sparsifier that are planned; empty where nothing cuts."""
        ...

    @property
    def found(self) -> Mapping[str, Any]:
        """What a search settled on to make these vectors, for the record; often empty."""
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
        self, name: str, start: int = 0, stop: int | None = None
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

    def stand_in(self, cuts: Cuts) -> "Sparsifier | None":
        """The rule that cuts in this one's place, now that all of its cuts are known.

        None, as for most rules, where these cuts are the ones to apply.
        """
        ...


@runtime_checkable
class Tasks(Protocol):
    """A set of tasks: their data, split by split, and how outputs are graded.

    names:  the tasks, in the order in which tables show them
    metric: what the mean of the graded values is called

    A split is train, validation or test.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def metric(self) -> str: ...

    def protocol(self) -> str:
        """What a number depends on beside the data, in words, for the record.

        Data that are not the official ones are named; for that they may be read.
        """
        ...

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


@runtime_checkable
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


@runtime_checkable
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


@runtime_checkable
class QuestionTasks(Protocol):
    """What tasks with a visual question answering task, called vqa, can do beside."""

    def answers(self) -> list[str]:
        """The answers that a model chooses from, in the order of its logits."""
        ...

    def questions(self, split: str) -> Iterator[tuple[Any, Tensor]]:
        """Inputs and the numbers of the questions; a split as the data set calls it."""
        ...


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
        self, task: str, split: str, size: int, *words: object
    ) -> Iterator[Any]:
        """Endless shuffled batches of inputs, on the device.

        The words decide the order.
        """
        ...

    def features(
        self, task: str, split: str, limit: int | None = None, *words: object
    ) -> Tensor:
        """What the module as it is hands to the head, [example, width].

        The split in order, or `limit` examples that the words draw from it.
        """
        ...

    def score(self, task: str, split: str) -> float:
        """The task's metric over one split, with the task's private tensors.

        It is that of the module as it is.
        """
        ...
