"""A model whose module names its tensors as its files do: the generic kind.

What differs from one architecture to the next is a handful of functions, which a YAML
names: `build`, `equip`, `adapt`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tadrop.models.model import Model
from tadrop.models.private import PrivateTensors, missing
from tadrop.protocols.tasks import ReportedTasks, Tasks
from tadrop.storage.checkpoint import Checkpoint, open_checkpoint, verify
from tadrop.storage.hub import resolve
from tadrop.types import TadropError
from tadrop.vectors.names import is_private

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Backbone:
    """One architecture with its base and its experts; see Model.

    base, experts: paths or hub ids; experts by task, or with `{task}` for its name; a
                   path under assets/ is ours
    private:       patterns of tensors that stay each task's own (heads)
    common:        also private is what not all experts have in the base's shape
    build:         makes the module, without weights
    equip:         puts a task's private tensors into the module
    matrices:      what per-matrix methods are told; the first entry whose pattern fits a
                   tensor says its matrix layout
    head:          the submodule whose input is a task's features: what adapters and
                   routers read
    adapt:         a file's tensors under the module's names, without what is no weight
                   (old buffers)
    hub_dir:       a folder laid out like the hub, looked at before the network
    verified:      files must match the SHA256SUMS beside them
    training_seed: with which base and experts were trained; what we ship is 0, and of
                   another seed the files of the same names are in seedN of trained_in
    provide:       what to do when the checkpoints are not there, for the error message
    """

    name: str
    base: str
    experts: str | Mapping[str, str]
    build: Callable[[], nn.Module]
    equip: Callable[[Any, PrivateTensors], None]
    private: Sequence[str] = ()
    matrices: Sequence[Mapping[str, Any]] = ()
    head: str | None = None
    common: bool = False
    adapt: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    hub_dir: str | None = None
    verified: bool = False
    training_seed: int = 0
    trained_in: str | None = None
    provide: str = "set model.base and model.experts to where they are"
    tasks: Tasks | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.training_seed and self.trained_in is None:
            raise TadropError(
                f"model.training_seed={self.training_seed}: model={self.name} is of one "
                "training seed, 0"
            )

    @property
    def head_module(self) -> str | None:
        """The submodule whose input is a task's features,
        by the module's name for it.
        """
        return self.head

    @property
    def own_tasks(self) -> None:
        """The tasks are those of `tasks=`."""

    def bound(self, tasks: Tasks) -> "Backbone":
        """This backbone for these tasks, whatever they are."""
        return replace(self, tasks=tasks)

    def published(self) -> dict[str, float]:
        """Results in percent that the experts' authors report, by task."""
        if not isinstance(self.tasks, ReportedTasks):
            return {}
        experts: dict[str, str] = {}
        for task in self.tasks.names:
            if (reference := self._reference(task)) is not None:
                experts[task] = reference
        return self.tasks.reported(self.name, experts)

    def slots(self, module: nn.Module) -> dict[str, Tensor]:
        """Where each tensor of a checkpoint goes:
        to the module's tensor of its name.
        """
        return dict(module.state_dict(keep_vars=True))

    def open_base(self) -> Checkpoint:
        """The base's tensors under the module's names."""
        return self._open(self.base)

    def open_expert(self, task: str) -> Checkpoint:
        """A task's tensors under the module's names."""
        reference = self._reference(task)
        if reference is None:
            raise TadropError(
                f"model {self.name} has no expert for {task!r}; set model.experts.{task}"
            )
        return self._open(reference)

    def _reference(self, task: str) -> str | None:
        """The path or hub id of a task's expert, if it has one."""
        if isinstance(self.experts, str):
            return self.experts.format(task=task)
        return self.experts.get(task)

    def _open(self, reference: str) -> Checkpoint:
        path = self._path(reference)
        if not path.exists():
            raise self._missing(path)
        if self.verified:
            verify(path)
        checkpoint = open_checkpoint(path)
        tensors = self.adapt(checkpoint.tensors)
        return replace(checkpoint, tensors=dict(sorted(tensors.items())))

    def _path(self, reference: str) -> Path:
        """The file or folder of a path or a hub id, downloaded if need be."""
        if reference.startswith("assets/"):
            return self._ours(ROOT / reference)
        if Path(reference).is_absolute() or "/" not in reference:
            return Path(reference)
        try:
            return resolve("models", reference, self.hub_dir)
        except TadropError as error:
            raise TadropError(
                f"model {self.name}: {error}; or {self.provide}"
            ) from error

    def _ours(self, shipped: Path) -> Path:
        """A file that we ship, or the one of its name that another seed gave."""
        if self.trained_in is None or self.training_seed == 0:
            return shipped
        return Path(self.trained_in) / f"seed{self.training_seed}" / shipped.name

    def _missing(self, path: Path) -> TadropError:
        """What is not there, and how to provide it; a whole set is told once."""
        if self.training_seed == 0:
            return TadropError(
                f"model {self.name}: no checkpoint at {path}; {self.provide}"
            )
        folder = path.parent
        what = (
            f"checkpoint at {path}" if folder.is_dir() else f"set of models in {folder}"
        )
        return TadropError(
            f"model {self.name}: no {what}; make it with python -m "
            f"experiments.train_glyphs --seed {self.training_seed} --out {folder}"
        )

    def settled(
        self, base: Checkpoint, experts: Mapping[str, Checkpoint]
    ) -> "Backbone":
        """This backbone with every private tensor named.

        With `common`, these are also the tensors that an expert lacks or has in another
        shape than the base. Raises TadropError for a tensor that the base alone lacks.
        """
        if not self.common:
            return self
        more: list[str] = []
        for name in _all_names(base, experts):
            if is_private(name, self.private):
                continue
            if name not in base.tensors:
                raise TadropError(
                    f"{missing(base.path, name)}, or name it in model.private "
                    "if it is the tasks' own"
                )
            if not _has_everywhere(name, base[name].shape, experts):
                more.append(name)
        return replace(self, private=(*self.private, *more))


def _all_names(base: Checkpoint, experts: Mapping[str, Checkpoint]) -> list[str]:
    """The names of the tensors of all of these files, in order."""
    names = set(base.tensors)
    for expert in experts.values():
        names |= set(expert.tensors)
    return sorted(names)


def _has_everywhere(
    name: str, shape: Sequence[int], experts: Mapping[str, Checkpoint]
) -> bool:
    """Whether all experts have a tensor of this name and shape."""
    for expert in experts.values():
        if name not in expert.tensors or expert[name].shape != shape:
            return False
    return True


_MODEL: type[Model] = Backbone  # a type checker compares all members
