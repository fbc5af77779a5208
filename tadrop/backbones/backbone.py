"""A backbone as the runner sees it: where its checkpoints lie, which tensors merge, how a module is built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from tadrop.checkpoint import Checkpoint, open_checkpoint, verify
from tadrop.stream import is_private
from tadrop.types import TadropError, Tasks

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Backbone:
    """One architecture with its base and its experts.

    base, experts: paths; `{task}` in experts is the task's name; a relative path that starts with assets/ is ours
    private:       patterns of tensors that stay each task's own (heads)
    build:         makes the module, without weights
    equip:         puts a task's private tensors into the module
    verified:      files must match the SHA256SUMS beside them
    provide:       what to do when the checkpoints are not there, for the error message
    """

    name: str
    base: str
    experts: str
    build: Callable[[], nn.Module]
    equip: Callable[[nn.Module, Mapping[str, Tensor]], None]
    private: Sequence[str] = ()
    verified: bool = False
    provide: str = "set model.base and model.experts to where they are"

    def bound(self, tasks: Tasks) -> "Backbone":
        """This backbone for these tasks; some need to know more of them than their names."""
        return self

    def published(self) -> dict[str, float]:
        """Accuracies in percent that its authors report for the individual models, by task."""
        return {}

    def places(self, module: nn.Module) -> dict[str, Tensor]:
        """Where each tensor of a checkpoint goes."""
        return dict(module.named_parameters()) | dict(module.named_buffers())

    def open_base(self) -> Checkpoint:
        return self._open(self.base)

    def open_expert(self, task: str) -> Checkpoint:
        return self._open(self.experts.format(task=task))

    def _open(self, path: str) -> Checkpoint:
        where = ROOT / path if path.startswith("assets/") else Path(path)
        if not where.exists():
            raise TadropError(f"model {self.name}: no checkpoint at {where}; {self.provide}")
        if self.verified:
            verify(where)
        return open_checkpoint(where)

    def private_tensors(self, checkpoint: Checkpoint) -> dict[str, Tensor]:
        """The tensors of an expert that are never merged."""
        return {n: t for n, t in checkpoint.tensors.items() if is_private(n, self.private)}
