"""What a model does for its users: the bench, the fine-tuning and the merge without one.

Nothing here says how. A model of a new kind is a class with these members, or a few
functions that `backbone.Backbone` holds, and a YAML that names it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from tadrop.models.private import PrivateTensors
from tadrop.protocols.tasks import Tasks
from tadrop.storage.checkpoint import Checkpoint


@runtime_checkable
class Model(Protocol):
    """One architecture with its base and its experts.

    name:        what records and folders call it
    private:     patterns of tensors that stay each task's own (heads) and never merge
    matrices:    what per-matrix methods are told of its tensors; see models.matrices
    head_module: the submodule whose input is a task's features; None where none is named
    own_tasks:   the tasks' names where the model itself brings them; None where they are
                 those of `tasks=`
    """

    @property
    def name(self) -> str: ...

    @property
    def private(self) -> Sequence[str]: ...

    @property
    def matrices(self) -> Sequence[Mapping[str, Any]]: ...

    @property
    def head_module(self) -> str | None: ...

    @property
    def own_tasks(self) -> Sequence[str] | None: ...

    def bound(self, tasks: Tasks) -> "Model":
        """This model for these tasks.

        Raises TadropError for tasks that it cannot take, and where it cannot be
        evaluated at all.
        """
        ...

    def open_base(self) -> Checkpoint:
        """The tensors of the base, under the names that merging uses."""
        ...

    def open_expert(self, task: str) -> Checkpoint:
        """A task's tensors under the same names, its private ones with them."""
        ...

    def settled(self, base: Checkpoint, experts: Mapping[str, Checkpoint]) -> "Model":
        """This model with every private tensor named, where the files decide that."""
        ...

    def build(self) -> nn.Module:
        """The module without weights; what no file fills must not be in it."""
        ...

    def slots(self, module: Any) -> Mapping[str, Tensor]:
        """Where each tensor of a checkpoint goes: a tensor of the module, or a view.

        Together they cover all weights and persistent buffers of the module as it was
        built, those of its head too. Writing to one writes the module.
        """
        ...

    def equip(self, module: Any, private: PrivateTensors, /) -> None:
        """Puts a task's private tensors into the module.

        Reads each with private[name], which refuses by name what is not there.
        """
        ...

    def published(self) -> Mapping[str, float]:
        """Accuracies in percent that the authors of its experts report, by task."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """What a model that is fine-tuned here does beside what Model says.

    keeps_heads: whether an expert's file holds its head
    """

    @property
    def keeps_heads(self) -> bool: ...

    def first_head(
        self, module: Any, images: Tensor, labels: Tensor, task: str
    ) -> dict[str, Tensor]:
        """The private tensors of a task that has none yet.

        images: uint8 [n, size, size, 3] of its training split; labels: [n]; the module
        has the base's weights
        """
        ...
