"""Task vectors as a stream: one tensor, or a piece of one, of all tasks at a time,
re-iterable and in a fixed order.

Nothing here holds more than what is asked for. Subtraction is in float32 whatever the
checkpoints' dtype.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.quantile import HELD
from tadrop.numerics.top_cut import TopCut
from tadrop.protocols import Cut, Stream
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import Layout, TadropError, Taus, Vector
from tadrop.vectors.names import is_private

# entries up to which a planner is handed one task's tensor in one piece, which it then
# keeps
WHOLE = HELD
PIECE = (
    1 << 19
)  # entries in a piece of a larger one: 2 MB, so that the interpreter does not count
DEVICE_PIECE = 1 << 24  # the same on an accelerator


def _matched(base: Checkpoint, expert: Checkpoint) -> Checkpoint:
    """The expert with its tensors under the base's names: tied tensors may go by any of
    theirs.
    """
    tensors = dict(expert.tensors)
    tensors |= {
        alias: tensors[name]
        for alias, name in expert.aliases.items()
        if name in tensors
    }
    for alias, name in base.aliases.items():
        if name not in base.tensors or alias not in tensors:
            continue
        other = tensors.pop(alias)
        mine = tensors.setdefault(name, other)
        if mine is not other and not torch.equal(mine, other):
            raise TadropError(
                f"{expert.path}: tensors {name!r} and {alias!r} differ; the base {base.path} ties them"
            )
    kept = {
        n: t for n, t in tensors.items() if n in base.tensors or n not in expert.aliases
    }
    return replace(expert, tensors=dict(sorted(kept.items())), aliases={})


def _check(
    base: Checkpoint, expert: Checkpoint, names: Sequence[str], private: Sequence[str]
) -> None:
    """Every merged tensor is in the expert with the base's shape, and nothing else is
    but private tensors.
    """
    for name in names:
        if name not in expert.tensors:
            raise TadropError(
                f"{expert.path}: tensor {name!r} is missing (the base {base.path} has it)"
            )
        if expert[name].shape != base[name].shape:
            ours, theirs = list(expert[name].shape), list(base[name].shape)
            raise TadropError(
                f"{expert.path}: tensor {name!r} has shape {ours}; the base {base.path} has {theirs}. "
                f"If it is the task's own (a head), name it in model.private"
            )
        if not expert[name].is_floating_point():
            raise TadropError(
                f"{expert.path}: tensor {name!r} is {expert[name].dtype}; the base's is floating-point"
            )
    for name in expert.tensors:
        if name not in base.tensors and not is_private(name, private):
            raise TadropError(
                f"{expert.path}: tensor {name!r} is not in the base {base.path} and is not private; "
                f"name it in model.private if it is the task's own"
            )


Addresses = tuple[
    tuple[np.ndarray, np.uint64], list[Tensor]
]  # of the experts' and the base's tensor, and these


@dataclass(frozen=True)
class TaskVectors:
    """theta_t - theta0 for every floating-point tensor that is not private, in the
    order of names.
    """

    base: Checkpoint
    experts: Mapping[str, Checkpoint]
    private: tuple[str, ...] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    tasks: tuple[str, ...] = field(init=False)
    names: tuple[str, ...] = field(init=False)
    shapes: Mapping[str, tuple[int, ...]] = field(init=False)
    _places: dict[str, Addresses | None] = field(
        init=False, repr=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        if not self.experts:
            raise TadropError("no experts to merge")
        tensors = self.base.tensors
        names = tuple(
            n
            for n, t in sorted(tensors.items())
            if t.is_floating_point() and not is_private(n, self.private)
        )
        if not names:
            raise TadropError(f"{self.base.path}: no floating-point tensor to merge")
        experts = {
            task: _matched(self.base, expert) for task, expert in self.experts.items()
        }
        for expert in experts.values():
            _check(self.base, expert, names, self.private)
        object.__setattr__(self, "experts", experts)
        object.__setattr__(self, "tasks", tuple(self.experts))
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "shapes", {n: tuple(tensors[n].shape) for n in names})

    def taus(
        self,
        name: str,
        start: int = 0,
        stop: int | None = None,
        cuts: Sequence[tuple[Cut, int]] = (),
    ) -> Taus:
        """See Stream. cuts: one per task, with the tensor's first index in it; applied
        as the entries are read.
        """
        size = prod(self.shapes[name])
        whole, stop = start == 0 and stop is None, size if stop is None else stop
        out = torch.empty(len(self.tasks), stop - start, device=self.device)
        if not self._load_cut(name, start, out, cuts):
            if self._load(name, start, out):
                self._refuse_nonfinite(out, name)
            for row, (cut, offset) in zip(out, cuts, strict=False):
                cut.apply_(row, offset + start)
        return out.view(len(self.tasks), *self.shapes[name]) if whole else out

    def _load_cut(
        self, name: str, start: int, taus: Tensor, cuts: Sequence[tuple[Cut, int]]
    ) -> bool:
        """Loads and cuts in one pass; False if that cannot be done here, or an entry is
        not finite.
        """
        if not cuts or not all(isinstance(cut, TopCut) for cut, _ in cuts):
            return False
        if (places := self._places_of(name, taus)) is None:
            return False
        from tadrop.numerics import kernels

        (thetas, theta0), _alive = places
        thresholds = np.array([cut.threshold for cut, _ in cuts], dtype=np.float32)
        ties = np.array(
            [cut.tie_end - start - offset for cut, offset in cuts], dtype=np.int64
        )
        scales = np.array([cut.scale for cut, _ in cuts], dtype=np.float32)
        return (
            kernels.load_cut(
                thetas, theta0, start, compiled.array(taus), thresholds, ties, scales
            )
            == 0
        )

    def _load(
        self, name: str, start: int, taus: Tensor, tasks: slice = slice(None)
    ) -> int:
        """Fills taus with the tasks' entries from start on; returns a number that is 0
        if all of them are finite.
        """
        if (places := self._places_of(name, taus)) is not None:
            from tadrop.numerics import kernels

            (thetas, theta0), _alive = places
            return kernels.load(thetas[tasks], theta0, start, compiled.array(taus))
        stop = start + taus.shape[1]
        base = self._read(self.base, name, start, stop)
        for row, expert in zip(taus, list(self.experts.values())[tasks], strict=True):
            torch.sub(self._read(expert, name, start, stop), base, out=row)
        return int(not torch.isfinite(taus.sum(dtype=torch.float64)))

    def _places_of(self, name: str, taus: Tensor) -> Addresses | None:
        """Where the compiled kernels read a tensor from; None if they do not serve it."""
        return (
            self._addresses(name)
            if compiled.serves(prod(self.shapes[name]), taus)
            else None
        )

    def _addresses(self, name: str) -> Addresses | None:
        """Where the experts' and the base's tensor begin, if all of them lie in memory
        as float32.

        They hold as long as the tensors beside them: kept only where the checkpoints
        themselves keep their tensors, and do not make them when asked (fused from q, k
        and v).
        """
        if name in self._places:
            return self._places[name]
        checkpoints = [*self.experts.values(), self.base]
        tensors = [checkpoint[name] for checkpoint in checkpoints]
        plain = all(
            t.dtype == torch.float32 and t.is_contiguous() and t.device.type == "cpu"
            for t in tensors
        )
        places = np.array([t.data_ptr() for t in tensors], dtype=np.uint64)
        found = ((places[:-1], places[-1]), tensors) if plain else None
        if all(isinstance(checkpoint.tensors, dict) for checkpoint in checkpoints):
            self._places[name] = found
        return found

    @property
    def uncut(self) -> Stream:
        return self

    @property
    def found(self) -> Mapping[str, Any]:
        return {}

    def theta0(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        flat = self._read(self.base, name, start, stop)
        return flat.view(self.shapes[name]) if start == 0 and stop is None else flat

    def private_tensors(self) -> dict[str, dict[str, Tensor]]:
        """Each task's own tensors, that are never merged."""
        return {
            task: {
                name: tensor
                for name, tensor in expert.tensors.items()
                if is_private(name, self.private)
            }
            for task, expert in self.experts.items()
        }

    def vector(self, task: int, name: str | None) -> Vector:
        names = self.names if name is None else (name,)
        size = sum(prod(self.shapes[n]) for n in names)
        shape = (size,) if name is None else self.shapes[name]
        return Vector(
            self.tasks[task],
            name or "model",
            shape,
            size,
            lambda: self._pieces(task, names),
        )

    def _pieces(self, task: int, names: Sequence[str]) -> Iterator[Tensor]:
        piece = PIECE if self.device.type == "cpu" else DEVICE_PIECE
        whole = WHOLE if len(names) == 1 else piece
        for name in names:
            size = prod(self.shapes[name])
            step = max(size, 1) if size <= whole else piece
            for start in range(0, size, step):
                tau = torch.empty(1, min(step, size - start), device=self.device)
                self._load(name, start, tau, slice(task, task + 1))
                yield tau[0]

    def _read(
        self, checkpoint: Checkpoint, name: str, start: int, stop: int | None
    ) -> Tensor:
        return checkpoint[name].reshape(-1)[start:stop].to(self.device, torch.float32)

    def _refuse_nonfinite(self, taus: Tensor, name: str) -> None:
        for (task, expert), tau in zip(self.experts.items(), taus, strict=True):
            if bad := int((~torch.isfinite(tau)).sum()):
                where = f"{expert.path} or {self.base.path}"
                raise TadropError(
                    f"task vector {task!r}, {name!r}: {bad} entries are NaN or infinite ({where})"
                )
