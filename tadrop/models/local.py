"""Checkpoints on disk of any architecture: nothing is known of them but their tensors.

They are merged and written, not evaluated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tadrop.models.model import Model
from tadrop.models.private import PrivateTensors
from tadrop.protocols.tasks import Tasks
from tadrop.storage.checkpoint import Checkpoint, open_checkpoint
from tadrop.types import TadropError

NO_ARCHITECTURE = (
    "model=local knows weights, not an architecture to evaluate; "
    "add evaluate=false export.dir=OUT"
)


@dataclass(frozen=True)
class Local:
    """A base and its experts, folders or files; see Model.

    private:  patterns of tensors that stay each expert's own (heads)
    matrices: what per-matrix methods are told (models.matrices); empty: they are refused
    """

    name: str
    base: str
    experts: Sequence[str]
    private: Sequence[str] = ()
    matrices: Sequence[Mapping[str, Any]] = ()

    @property
    def own_tasks(self) -> tuple[str, ...]:
        """One name an expert: its folder's, or its file's.

        Raises TadropError if two are equal.
        """
        if isinstance(self.experts, str) or not self.experts:
            raise TadropError(
                "model.experts is a list of checkpoints: 'model.experts=[DIR1,DIR2]'"
            )
        names = tuple(_task_name(Path(path)) for path in self.experts)
        for name in names:
            if names.count(name) > 1:
                raise TadropError(
                    f"two experts are called {name!r}; "
                    "rename a folder, tasks are told apart by it"
                )
        return names

    def open_base(self) -> Checkpoint:
        """The base as its file has it."""
        return open_checkpoint(self.base)

    def open_expert(self, task: str) -> Checkpoint:
        """An expert as its file has it, by its name."""
        return open_checkpoint(self.experts[self.own_tasks.index(task)])

    def settled(self, base: Checkpoint, experts: Mapping[str, Checkpoint]) -> "Local":
        """These checkpoints: `private` names all that is private."""
        return self

    @property
    def head_module(self) -> None:
        """There is no module."""

    def published(self) -> dict[str, float]:
        """Nothing is known of these experts."""
        return {}

    def bound(self, tasks: Tasks) -> NoReturn:
        """Raises TadropError: tasks are for an evaluation."""
        raise TadropError(NO_ARCHITECTURE)

    def build(self) -> NoReturn:
        """Raises TadropError, as bound does."""
        raise TadropError(NO_ARCHITECTURE)

    def slots(self, module: Any) -> NoReturn:
        """Raises TadropError, as bound does."""
        raise TadropError(NO_ARCHITECTURE)

    def equip(self, module: Any, private: PrivateTensors) -> NoReturn:
        """Raises TadropError, as bound does."""
        raise TadropError(NO_ARCHITECTURE)


def _task_name(path: Path) -> str:
    resolved = path.resolve()
    if resolved.stem in ("model", "pytorch_model"):
        return resolved.parent.name
    return resolved.name.split(".safetens")[0]


_MODEL: type[Model] = Local  # a type checker compares all members
