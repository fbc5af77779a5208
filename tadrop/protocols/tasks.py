"""A set of tasks, and what some sets can do beside."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from tadrop.types import Need


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

    def needs(self) -> list[Need]:
        """Which data sets are not at hand. Looking downloads nothing."""
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
        self,
        task: str,
        split: str,
        kept: Tensor,
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

    def backbones(self) -> tuple[str, ...]:
        """The models that are published fine-tuned on these tasks, by our names.

        Empty where that is not told, as for tasks of one's own.
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
class ReportedTasks(Protocol):
    """What tasks can do beside whose individual
    models are reported by their authors.
    """

    def reported(self, model: str, experts: Mapping[str, str]) -> dict[str, float]:
        """Results in percent that the authors of these experts report, by task.

        experts: the place of each task's expert; one that is not the authors' is left
        out, and so is a task whose data or metric are not theirs
        """
        ...
