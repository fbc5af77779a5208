"""Task vectors as a stream: one tensor, or a piece of one, of all tasks at a time, re-iterable and in a fixed order.

Nothing here holds more than what is asked for. Subtraction is in float32 whatever the checkpoints' dtype.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import chain, groupby
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tadrop import compiled
from tadrop.blocks import BLOCK, device_of, in_order, over_blocks
from tadrop.checkpoint import Checkpoint
from tadrop.quantile import HELD
from tadrop.sparsify.cut import TopCut
from tadrop.types import Cut, Derived, Layout, Sparsifier, Stream, TadropError, Taus, Vector

WHOLE = HELD  # entries up to which a planner is handed one task's tensor in one piece, which it then keeps
PIECE = 1 << 19  # entries in a piece of a larger one: 2 MB, so that the interpreter does not count
DEVICE_PIECE = 1 << 24  # the same on an accelerator


def is_private(name: str, patterns: Sequence[str]) -> bool:
    """Whether a tensor stays each task's own (heads, say)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _matched(base: Checkpoint, expert: Checkpoint) -> Checkpoint:
    """The expert with its tensors under the base's names: tied tensors may go by any of theirs."""
    tensors = dict(expert.tensors)
    tensors |= {alias: tensors[name] for alias, name in expert.aliases.items() if name in tensors}
    for alias, name in base.aliases.items():
        if name not in base.tensors or alias not in tensors:
            continue
        other = tensors.pop(alias)
        mine = tensors.setdefault(name, other)
        if mine is not other and not torch.equal(mine, other):
            raise TadropError(f"{expert.path}: tensors {name!r} and {alias!r} differ; the base {base.path} ties them")
    kept = {n: t for n, t in tensors.items() if n in base.tensors or n not in expert.aliases}
    return replace(expert, tensors=dict(sorted(kept.items())), aliases={})


def _check(base: Checkpoint, expert: Checkpoint, names: Sequence[str], private: Sequence[str]) -> None:
    """Every merged tensor is in the expert with the base's shape, and nothing else is but private tensors."""
    for name in names:
        if name not in expert.tensors:
            raise TadropError(f"{expert.path}: tensor {name!r} is missing (the base {base.path} has it)")
        if expert[name].shape != base[name].shape:
            ours, theirs = list(expert[name].shape), list(base[name].shape)
            raise TadropError(
                f"{expert.path}: tensor {name!r} has shape {ours}; the base {base.path} has {theirs}. "
                f"If it is the task's own (a head), name it in model.private"
            )
        if not expert[name].is_floating_point():
            raise TadropError(f"{expert.path}: tensor {name!r} is {expert[name].dtype}; the base's is floating-point")
    for name in expert.tensors:
        if name not in base.tensors and not is_private(name, private):
            raise TadropError(
                f"{expert.path}: tensor {name!r} is not in the base {base.path} and is not private; "
                f"name it in model.private if it is the task's own"
            )


Addresses = tuple[tuple[np.ndarray, np.uint64], list[Tensor]]  # of the experts' and the base's tensor, and these


@dataclass(frozen=True)
class TaskVectors:
    """theta_t - theta0 for every floating-point tensor that is not private, in the order of names."""

    base: Checkpoint
    experts: Mapping[str, Checkpoint]
    private: tuple[str, ...] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    tasks: tuple[str, ...] = field(init=False)
    names: tuple[str, ...] = field(init=False)
    shapes: Mapping[str, tuple[int, ...]] = field(init=False)
    _places: dict[str, Addresses | None] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not self.experts:
            raise TadropError("no experts to merge")
        tensors = self.base.tensors
        names = tuple(
            n for n, t in sorted(tensors.items()) if t.is_floating_point() and not is_private(n, self.private)
        )
        if not names:
            raise TadropError(f"{self.base.path}: no floating-point tensor to merge")
        experts = {task: _matched(self.base, expert) for task, expert in self.experts.items()}
        for expert in experts.values():
            _check(self.base, expert, names, self.private)
        object.__setattr__(self, "experts", experts)
        object.__setattr__(self, "tasks", tuple(self.experts))
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "shapes", {n: tuple(tensors[n].shape) for n in names})

    def taus(self, name: str, start: int = 0, stop: int | None = None, cuts: Sequence[tuple[Cut, int]] = ()) -> Taus:
        """See Stream. cuts: one per task, with the tensor's first index in it; applied as the entries are read."""
        size = prod(self.shapes[name])
        whole, stop = start == 0 and stop is None, size if stop is None else stop
        out = torch.empty(len(self.tasks), stop - start, device=self.device)
        if not self._load_cut(name, start, out, cuts):
            if self._load(name, start, out):
                self._refuse_nonfinite(out, name)
            for row, (cut, offset) in zip(out, cuts, strict=False):
                cut.apply_(row, offset + start)
        return out.view(len(self.tasks), *self.shapes[name]) if whole else out

    def _load_cut(self, name: str, start: int, taus: Tensor, cuts: Sequence[tuple[Cut, int]]) -> bool:
        """Loads and cuts in one pass; False if that cannot be done here, or an entry is not finite."""
        if not cuts or not all(isinstance(cut, TopCut) for cut, _ in cuts):
            return False
        if (places := self._places_of(name, taus)) is None:
            return False
        from tadrop import kernels

        (thetas, theta0), _alive = places
        thresholds = np.array([cut.threshold for cut, _ in cuts], dtype=np.float32)
        ties = np.array([cut.tie_end - start - offset for cut, offset in cuts], dtype=np.int64)
        scales = np.array([cut.scale for cut, _ in cuts], dtype=np.float32)
        return kernels.load_cut(thetas, theta0, start, compiled.array(taus), thresholds, ties, scales) == 0

    def _load(self, name: str, start: int, taus: Tensor, tasks: slice = slice(None)) -> int:
        """Fills taus with the tasks' entries from start on; returns a number that is 0 if all of them are finite."""
        if (places := self._places_of(name, taus)) is not None:
            from tadrop import kernels

            (thetas, theta0), _alive = places
            return kernels.load(thetas[tasks], theta0, start, compiled.array(taus))
        stop = start + taus.shape[1]
        base = self._read(self.base, name, start, stop)
        for row, expert in zip(taus, list(self.experts.values())[tasks], strict=True):
            torch.sub(self._read(expert, name, start, stop), base, out=row)
        return int(not torch.isfinite(taus.sum(dtype=torch.float64)))

    def _places_of(self, name: str, taus: Tensor) -> Addresses | None:
        """Where the compiled kernels read a tensor from; None if they do not serve it."""
        return self._addresses(name) if compiled.serves(prod(self.shapes[name]), taus) else None

    def _addresses(self, name: str) -> Addresses | None:
        """Where the experts' and the base's tensor begin, if all of them lie in memory as float32.

        They hold as long as the tensors beside them: kept only where the checkpoints themselves keep their tensors, and
        do not make them when asked (fused from q, k and v).
        """
        if name in self._places:
            return self._places[name]
        checkpoints = [*self.experts.values(), self.base]
        tensors = [checkpoint[name] for checkpoint in checkpoints]
        plain = all(t.dtype == torch.float32 and t.is_contiguous() and t.device.type == "cpu" for t in tensors)
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
            task: {name: tensor for name, tensor in expert.tensors.items() if is_private(name, self.private)}
            for task, expert in self.experts.items()
        }

    def vector(self, task: int, name: str | None) -> Vector:
        names = self.names if name is None else (name,)
        size = sum(prod(self.shapes[n]) for n in names)
        shape = (size,) if name is None else self.shapes[name]
        return Vector(self.tasks[task], name or "model", shape, size, lambda: self._pieces(task, names))

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

    def _read(self, checkpoint: Checkpoint, name: str, start: int, stop: int | None) -> Tensor:
        return checkpoint[name].reshape(-1)[start:stop].to(self.device, torch.float32)

    def _refuse_nonfinite(self, taus: Tensor, name: str) -> None:
        for (task, expert), tau in zip(self.experts.items(), taus, strict=True):
            if bad := int((~torch.isfinite(tau)).sum()):
                where = f"{expert.path} or {self.base.path}"
                raise TadropError(f"task vector {task!r}, {name!r}: {bad} entries are NaN or infinite ({where})")


@dataclass(frozen=True)
class Sparse(Derived):
    """A stream whose vectors are cut by a sparsifier; cuts are planned once, when first needed, and kept."""

    sparsifier: Sparsifier
    on_plan: Callable[[], None] = lambda: None
    cuts: dict[tuple[str, str], Cut] = field(default_factory=dict)

    @property
    def uncut(self) -> Stream:
        return self.source

    @property
    def found(self) -> Mapping[str, Any]:
        return self.source.found

    def cut(self, task: int, name: str) -> tuple[Cut, int]:
        """The cut that covers a tensor, and the tensor's first flat index in the cut vector."""
        covered = cut_name(self.sparsifier.scope, name)
        key = (self.tasks[task], covered)
        if key not in self.cuts:
            (vector,) = self.covered([key])
            self.cuts[key] = self.sparsifier.plan(vector)
            self.on_plan()
        return self.cuts[key], self._offsets[name]

    def covered(self, keys: Sequence[tuple[str, str]]) -> Iterator[Vector]:
        """What these cuts cover, by task and name of the cut: a tensor, or those of a layer or of the model joined.

        Several tasks' vectors of one tensor are read together.
        """
        together = self.source.taus(keys[0][1]) if len(keys) > 1 else None
        for key in keys:
            task, covered = self.tasks.index(key[0]), key[1]
            vector = self._joined(task, covered)
            yield vector if together is None else vector.over(together[task])

    def _joined(self, task: int, covered: str) -> Vector:
        if self.sparsifier.scope != "layer":
            return self.source.vector(task, covered if self.sparsifier.scope == "tensor" else None)
        names = [name for name in self.names if cut_name(self.sparsifier.scope, name) == covered]
        vectors = [self.source.vector(task, name) for name in names]
        size = sum(vector.size for vector in vectors)
        pieces = lambda: chain.from_iterable(vector.pieces() for vector in vectors)  # noqa: E731
        return Vector(self.tasks[task], covered, (size,), size, pieces)

    @cached_property
    def _offsets(self) -> dict[str, int]:
        """Each tensor's first flat index in what its cut covers."""
        offsets, ends = {}, Counter()
        for name in self.names:
            covered = cut_name(self.sparsifier.scope, name)
            offsets[name] = ends[covered]
            ends[covered] += prod(self.shapes[name])
        return offsets

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        if self._row(name) > 1 and not (start == 0 and stop is None):
            return self._taus_by_rows(name, start, stop)
        cuts = [self.cut(task, name) for task in range(len(self.tasks))]
        if isinstance(self.source, TaskVectors):
            return self.source.taus(name, start, stop, cuts)
        taus = self.source.taus(name, start, stop)
        for row, (cut, offset) in zip(taus, cuts, strict=True):
            cut.apply_(row, offset + start)
        return taus

    def _row(self, name: str) -> int:
        """How many entries a cut must be shown together: a row (last axis) where the rule goes by rows."""
        shape = self.shapes[name]
        return max(shape[-1], 1) if shape and getattr(self.sparsifier, "by_rows", False) else 1

    def _taus_by_rows(self, name: str, start: int, stop: int | None) -> Taus:
        """A piece of a tensor, cut together with the rest of the rows that it begins and ends in."""
        row, size = self._row(name), prod(self.shapes[name])
        stop = size if stop is None else stop
        first, last = start // row * row, min(-(-stop // row) * row, size)
        taus = self.source.taus(name, first, last)
        whole = torch.stack([self.cut(task, name)[0].apply(tau, first) for task, tau in enumerate(taus)])
        return whole[:, start - first : stop - first]

    def vector(self, task: int, name: str | None) -> Vector:
        source = self.source.vector(task, name)
        return Vector(source.task, source.name, source.shape, source.size, lambda: self._pieces(task, name))

    def _pieces(self, task: int, name: str | None) -> Iterator[Tensor]:
        for each in self.names if name is None else (name,):
            cut, at = self.cut(task, each)
            for piece in _whole_rows(self.source.vector(task, each).pieces(), self._row(each)):
                yield cut.apply(piece, at)
                at += len(piece)


def _whole_rows(pieces: Iterator[Tensor], row: int) -> Iterator[Tensor]:
    """The same entries in pieces that end where a row of so many entries does."""
    rest = None
    for piece in pieces:
        piece = piece if rest is None else torch.cat([rest, piece])
        end = len(piece) // row * row
        rest = piece[end:] if end < len(piece) else None
        if end:
            yield piece[:end]


def layer_of(name: str) -> str:
    """The layer a tensor belongs to: its name up to the first number, `blocks.3.fc1.weight` -> `blocks.3`.

    Without a number, the module that owns it: `norm.bias` -> `norm`; a bare name is its own layer.
    """
    words = name.split(".")
    numbers = [at for at, word in enumerate(words) if word.isdigit()]
    return ".".join(words[: numbers[0] + 1] if numbers else words[:-1] or words)


def cut_name(scope: str, name: str) -> str:
    """What a cut of this scope that covers a tensor is called: the tensor, its layer, or `model`."""
    if scope == "layer":
        return layer_of(name)
    return {"tensor": name, "model": "model"}[scope]


def numel(shape: Sequence[int]) -> int:
    """Entries of a shape; 1 for a scalar."""
    return prod(shape)


def all_cuts(stream: Sparse) -> dict[tuple[str, str], Cut]:
    """Plans whatever is not planned yet and returns every cut by (task, what it covers: see cut_name).

    Vectors are planned side by side on all threads; the order of the cuts is that of names, then tasks.
    """
    if isinstance(stream.source, Sparse):
        all_cuts(stream.source)
    covers = dict.fromkeys(cut_name(stream.sparsifier.scope, name) for name in stream.names)
    keys = [(task, covered) for covered in covers for task in stream.tasks]

    def plan(job: list[tuple[str, str]]) -> list[tuple[tuple[str, str], Cut]]:
        return [(key, stream.sparsifier.plan(vector)) for key, vector in zip(job, stream.covered(job), strict=True)]

    threads = torch.get_num_threads() if device_of(stream).type == "cpu" else 1
    for planned in in_order(plan, _jobs(stream, [key for key in keys if key not in stream.cuts]), threads):
        for key, cut in planned:
            stream.cuts[key] = cut
            stream.on_plan()
    return {key: stream.cuts[key] for key in keys}


def _jobs(stream: Sparse, keys: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Cuts that a thread plans at a time: one, or all tasks' of a tensor that is a block or less."""
    for covered, group in groupby(keys, key=lambda key: key[1]):
        job = list(group)
        if stream.sparsifier.scope == "tensor" and len(stream.tasks) * prod(stream.shapes[covered]) <= BLOCK:
            yield job
        else:
            yield from ([key] for key in job)


def density(stream: Stream) -> float:
    """The fraction of entries of all task vectors that are not zero."""
    sizes = {name: prod(stream.shapes[name]) for name in stream.names}
    counts = over_blocks(stream, lambda name, start, taus: count_nonzero(taus, sizes[name]))
    return sum(sum(some) for _, some in counts) / (len(stream.tasks) * sum(sizes.values()))


def count_nonzero(taus: Taus, size: int) -> int:
    """How many entries of a piece of a tensor of so many entries are not zero."""
    if compiled.serves(size, taus):
        from tadrop import kernels

        return kernels.count_nonzero(compiled.bits(taus.view(len(taus), -1)))
    return int(torch.count_nonzero(taus))
