"""Checkpoints on disk of any architecture: nothing is known of them but their tensors.
For merging, not evaluating.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tadrop.protocols import Tasks
from tadrop.storage.checkpoint import Checkpoint, open_checkpoint
from tadrop.types import TadropError
from tadrop.vectors.names import is_private


@dataclass(frozen=True)
class Local:
    """base and experts: folders or files; private: patterns of tensors that stay each
    expert's own (heads).

    matrices: what per-matrix methods are told, as a backbone says it
    (backbone.layouts); empty: they are refused.
    """

    name: str
    base: str
    experts: Sequence[str]
    private: Sequence[str] = ()
    matrices: Sequence[Mapping[str, Any]] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """One name an expert: its folder's, or its file's. Raises TadropError if two
        are equal.
        """
        if isinstance(self.experts, str) or not self.experts:
            raise TadropError(
                "model.experts is a list of checkpoints: 'model.experts=[DIR1,DIR2]'"
            )
        names = tuple(_task_name(Path(path)) for path in self.experts)
        for name in names:
            if names.count(name) > 1:
                raise TadropError(
                    f"two experts are called {name!r}; rename a folder, tasks are told apart by it"
                )
        return names

    def bound(self, tasks: Tasks) -> "Local":
        """These checkpoints, whatever the tasks."""
        return self

    def open_base(self) -> Checkpoint:
        return open_checkpoint(self.base)

    def open_expert(self, task: str) -> Checkpoint:
        return open_checkpoint(self.experts[self.tasks.index(task)])

    def private_tensors(self, checkpoint: Checkpoint) -> dict:
        """The tensors of an expert that are never merged."""
        return {
            n: t for n, t in checkpoint.tensors.items() if is_private(n, self.private)
        }

    def build(self) -> NoReturn:
        raise TadropError(
            "model=local knows weights, not an architecture to evaluate; add evaluate=false export.dir=OUT"
        )


def _task_name(path: Path) -> str:
    resolved = path.resolve()
    return (
        resolved.parent.name
        if resolved.stem in ("model", "pytorch_model")
        else resolved.name.split(".safetens")[0]
    )
