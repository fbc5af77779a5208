"""Task vectors as a stream: one tensor, or a piece of one, of all tasks at a time, re-iterable and in a fixed order.

Nothing here holds more than what is asked for. Subtraction is in float32 whatever the checkpoints' dtype.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from torch import Tensor

from tadrop.checkpoint import Checkpoint
from tadrop.types import Cut, Sparsifier, Stream, TadropError, Taus, Vector

PIECE = 1 << 22  # entries of one task handed to a planner at once


def is_private(name: str, patterns: Sequence[str]) -> bool:
    """Whether a tensor stays each task's own (heads, say)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check(base: Checkpoint, expert: Checkpoint, names: Sequence[str], private: Sequence[str]) -> None:
    """Every merged tensor is in the expert with the base's shape, and nothing else is but private tensors."""
    for name in names:
        if name not in expert.tensors:
            raise TadropError(f"{expert.path}: tensor {name!r} is missing (the base {base.path} has it)")
        if expert[name].shape != base[name].shape:
            ours, theirs = list(expert[name].shape), list(base[name].shape)
            raise TadropError(f"{expert.path}: tensor {name!r} has shape {ours}; the base {base.path} has {theirs}")
        if not expert[name].is_floating_point():
            raise TadropError(f"{expert.path}: tensor {name!r} is {expert[name].dtype}; the base's is floating-point")
    for name in expert.tensors:
        if name not in base.tensors and not is_private(name, private):
            raise TadropError(f"{expert.path}: tensor {name!r} is not in the base {base.path} and is not private")


@dataclass(frozen=True)
class TaskVectors:
    """theta_t - theta0 for every floating-point tensor that is not private, in the order of names."""

    base: Checkpoint
    experts: Mapping[str, Checkpoint]
    private: tuple[str, ...] = ()
    device: torch.device = torch.device("cpu")
    tasks: tuple[str, ...] = field(init=False)
    names: tuple[str, ...] = field(init=False)
    shapes: Mapping[str, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        if not self.experts:
            raise TadropError("no experts to merge")
        tensors = self.base.tensors
        names = tuple(
            n for n, t in sorted(tensors.items()) if t.is_floating_point() and not is_private(n, self.private)
        )
        if not names:
            raise TadropError(f"{self.base.path}: no floating-point tensor to merge")
        for expert in self.experts.values():
            _check(self.base, expert, names, self.private)
        object.__setattr__(self, "tasks", tuple(self.experts))
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "shapes", {n: tuple(tensors[n].shape) for n in names})

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        whole = start == 0 and stop is None
        base = self._read(self.base, name, start, stop)
        out = torch.empty(len(self.tasks), base.numel(), device=self.device)
        for row, expert in zip(out, self.experts.values(), strict=True):
            torch.sub(self._read(expert, name, start, stop), base, out=row)
        self._refuse_nonfinite(out, name)
        return out.view(len(self.tasks), *self.shapes[name]) if whole else out

    def vector(self, task: int, name: str | None) -> Vector:
        names = self.names if name is None else (name,)
        size = sum(self.base[n].numel() for n in names)
        shape = (size,) if name is None else self.shapes[name]
        return Vector(self.tasks[task], name or "model", shape, size, lambda: self._pieces(task, names))

    def _pieces(self, task: int, names: Sequence[str]) -> Iterator[Tensor]:
        expert = self.experts[self.tasks[task]]
        for name in names:
            size = self.base[name].numel()
            for start in range(0, size, PIECE):
                stop = min(start + PIECE, size)
                yield self._read(expert, name, start, stop) - self._read(self.base, name, start, stop)

    def _read(self, checkpoint: Checkpoint, name: str, start: int, stop: int | None) -> Tensor:
        return checkpoint[name].reshape(-1)[start:stop].to(self.device, torch.float32)

    def _refuse_nonfinite(self, taus: Tensor, name: str) -> None:
        """A sum is NaN or infinite if an entry is; only then is it worth looking for which."""
        if torch.isfinite(taus.sum(dtype=torch.float64)):
            return
        for task, tau in zip(self.tasks, taus, strict=True):
            if bad := int((~torch.isfinite(tau)).sum()):
                raise TadropError(f"task vector {task!r}, {name!r}: {bad} entries are NaN or infinite")


@dataclass(frozen=True)
class Sparse:
    """A stream whose vectors are cut by a sparsifier; cuts are planned once, when first needed, and kept."""

    source: Stream
    sparsifier: Sparsifier
    on_plan: Callable[[], None] = lambda: None
    cuts: dict[tuple[str, str], Cut] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.source.tasks

    @property
    def names(self) -> tuple[str, ...]:
        return self.source.names

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.source.shapes

    def cut(self, task: int, name: str) -> tuple[Cut, int]:
        """The cut that covers a tensor, and the tensor's first flat index in the cut vector."""
        whole_model = self.sparsifier.scope == "model"
        key = (self.tasks[task], "model" if whole_model else name)
        if key not in self.cuts:
            self.cuts[key] = self.sparsifier.plan(self.source.vector(task, None if whole_model else name))
            self.on_plan()
        return self.cuts[key], self._offsets[name] if whole_model else 0

    @cached_property
    def _offsets(self) -> dict[str, int]:
        offsets, at = {}, 0
        for name in self.names:
            offsets[name] = at
            at += numel(self.shapes[name])
        return offsets

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        taus = self.source.taus(name, start, stop)
        for row, task in zip(taus, range(len(self.tasks)), strict=True):
            cut, offset = self.cut(task, name)
            row.copy_(cut.apply(row, offset + start))
        return taus

    def vector(self, task: int, name: str | None) -> Vector:
        source = self.source.vector(task, name)
        return Vector(source.task, source.name, source.shape, source.size, lambda: self._pieces(task, name))

    def _pieces(self, task: int, name: str | None) -> Iterator[Tensor]:
        for each in self.names if name is None else (name,):
            cut, at = self.cut(task, each)
            for piece in self.source.vector(task, each).pieces():
                yield cut.apply(piece, at)
                at += len(piece)


def numel(shape: Sequence[int]) -> int:
    """Entries of a shape; 1 for a scalar."""
    count = 1
    for side in shape:
        count *= side
    return count


def all_cuts(stream: Sparse) -> dict[tuple[str, str], Cut]:
    """Plans whatever is not planned yet and returns every cut by (task, tensor name or 'model')."""
    for name in stream.names:
        for task in range(len(stream.tasks)):
            stream.cut(task, name)
    return dict(stream.cuts)


def density(stream: Stream, piece: int = PIECE) -> float:
    """The fraction of entries of all task vectors that are not zero."""
    nonzero = total = 0
    for name in stream.names:
        size = numel(stream.shapes[name])
        for start in range(0, size, piece):
            taus = stream.taus(name, start, min(start + piece, size))
            nonzero += int(torch.count_nonzero(taus))
            total += taus.numel()
    return nonzero / total
