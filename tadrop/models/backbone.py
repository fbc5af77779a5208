"""A backbone as the runner sees it: where its checkpoints lie, which tensors merge, how
a module is built.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tadrop.protocols import Tasks
from tadrop.storage.checkpoint import Checkpoint, open_checkpoint, verify
from tadrop.storage.hub import resolve
from tadrop.types import Layout, TadropError
from tadrop.vectors.names import is_private

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Backbone:
    """One architecture with its base and its experts.

    base, experts: paths or hub ids; experts by task, or with `{task}` for its name; a
    path under assets/ is ours
    private:       patterns of tensors that stay each task's own (heads)
    common:        also private is whatever the base and all experts do not have in one shape
    build:         makes the module, without weights
    equip:         puts a task's private tensors into the module
    matrices:      what per-matrix methods are told; the first entry whose pattern fits a tensor says its Layout
    head:          the submodule whose input is a task's features: what adapters and routers read
    adapt:         a file's tensors under the module's names, without what is no weight (old buffers)
    hub_dir:       a folder laid out like the hub, looked at before the network
    verified:      files must match the SHA256SUMS beside them
    provide:       what to do when the checkpoints are not there, for the error message
    """

    name: str
    base: str
    experts: str | Mapping[str, str]
    build: Callable[[], nn.Module]
    equip: Callable[[nn.Module, Mapping[str, Tensor]], None]
    private: Sequence[str] = ()
    matrices: Sequence[Mapping[str, Any]] = ()
    head: str | None = None
    common: bool = False
    adapt: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    hub_dir: str | None = None
    verified: bool = False
    provide: str = "set model.base and model.experts to where they are"

    @property
    def head_module(self) -> str | None:
        """The submodule whose input is a task's features, by the module's name for it."""
        return self.head

    def bound(self, tasks: Tasks) -> "Backbone":
        """This backbone for these tasks; some need to know more of them than their
        names.
        """
        return self

    def published(self) -> dict[str, float]:
        """Accuracies in percent that its authors report for the individual models, by
        task.
        """
        return {}

    def places(self, module: nn.Module) -> dict[str, Tensor]:
        """Where each tensor of a checkpoint goes."""
        return dict(module.state_dict(keep_vars=True))

    def open_base(self) -> Checkpoint:
        return self._open(self.base)

    def open_expert(self, task: str) -> Checkpoint:
        if isinstance(self.experts, str):
            return self._open(self.experts.format(task=task))
        if task not in self.experts:
            raise TadropError(
                f"model {self.name} has no expert for {task!r}; set model.experts.{task}"
            )
        return self._open(self.experts[task])

    def _open(self, path: str) -> Checkpoint:
        where = ROOT / path if path.startswith("assets/") else self._found(path)
        if not where.exists():
            raise TadropError(
                f"model {self.name}: no checkpoint at {where}; {self.provide}"
            )
        if self.verified:
            verify(where)
        found = open_checkpoint(where)
        return replace(found, tensors=dict(sorted(self.adapt(found.tensors).items())))

    def _found(self, path: str) -> Path:
        if Path(path).is_absolute() or "/" not in path:
            return Path(path)
        try:
            return resolve("models", path, self.hub_dir)
        except TadropError as error:
            raise TadropError(
                f"model {self.name}: {error}; or {self.provide}"
            ) from error

    def settled(
        self, base: Checkpoint, experts: Mapping[str, Checkpoint]
    ) -> "Backbone":
        """This backbone with every private tensor named, where that depends on the
        checkpoints.
        """
        if not self.common:
            return self
        files = [base.tensors, *(expert.tensors for expert in experts.values())]
        names = sorted(set().union(*files))
        uncommon = [
            n
            for n in names
            if len({tuple(f[n].shape) if n in f else None for f in files}) > 1
        ]
        return replace(
            self,
            private=(
                *self.private,
                *(n for n in uncommon if not is_private(n, self.private)),
            ),
        )

    def refuse_holes(self, module: nn.Module, base: Checkpoint) -> None:
        """A weight that no file brings would stay as it was initialised, at random:
        raises TadropError naming it.
        """
        for name in module.state_dict():
            if name not in base.tensors and not is_private(name, self.private):
                raise TadropError(
                    f"{base.path}: tensor {name!r} is missing; model {self.name} cannot do without it"
                )

    def private_tensors(self, checkpoint: Checkpoint) -> dict[str, Tensor]:
        """The tensors of an expert that are never merged."""
        return {
            n: t for n, t in checkpoint.tensors.items() if is_private(n, self.private)
        }


def layouts(
    model: str,
    matrices: Sequence[Mapping[str, Any]],
    shapes: Mapping[str, Sequence[int]],
) -> dict[str, Layout]:
    """The layout of every merged tensor that a model's `matrices` names.

    An entry is {names: pattern, kind: ..., transposed: ..., blocks: ...}. Raises
    TadropError for a pattern that fits no tensor, and for a tensor that is no matrix or
    does not fall into that many blocks.
    """
    found: dict[str, Layout] = {}
    for entry in matrices:
        layout = Layout(
            **{"kind": "linear"} | {k: v for k, v in entry.items() if k != "names"}
        )
        fitting = [name for name in shapes if fnmatchcase(name, entry["names"])]
        if not fitting:
            raise TadropError(
                f"model {model}: matrices names {entry['names']!r}, and no merged tensor is called so"
            )
        for name in fitting:
            _check_matrix(model, name, shapes[name], layout)
            found.setdefault(name, layout)
    return found


def _check_matrix(model: str, name: str, shape: Sequence[int], layout: Layout) -> None:
    if len(shape) != 2:
        raise TadropError(
            f"model {model}: matrices names {name!r}, whose shape is {list(shape)}"
        )
    if shape[1 if layout.transposed else 0] % layout.blocks:
        raise TadropError(
            f"model {model}: {name!r} of shape {list(shape)} is not {layout.blocks} equal blocks"
        )
