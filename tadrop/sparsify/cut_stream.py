"""A stream whose vectors are cut by a sparsifier.

Cuts are planned once, when first needed, and kept.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby
from math import prod

import torch
from torch import Tensor

from tadrop.numerics.threads import in_order
from tadrop.protocols.streams import Cut, Cuts, Sparsifier, Stream
from tadrop.types import Taus, Vector
from tadrop.vectors.derived import Derived
from tadrop.vectors.names import cut_name
from tadrop.vectors.passes import PIECE

# A task, and what one of its cuts covers: see cut_name.
Key = tuple[str, str]


@dataclass(frozen=True)
class Sparse(Derived):
    """A stream whose vectors are cut by a sparsifier.

    on_plan is called once a cut, when it is planned.
    """

    sparsifier: Sparsifier
    on_plan: Callable[[], None] = lambda: None
    _planned: dict[Key, Cut] = field(default_factory=dict, init=False, repr=False)

    def uncut(self) -> Stream:
        """See Stream."""
        return self.source

    def cuts(self) -> Cuts:
        """See Stream."""
        cuts: dict[Key, Cut] = {}
        for key in self._keys():
            if key in self._planned:
                cuts[key] = self._planned[key]
        return cuts

    def plan(self) -> None:
        """Plans every cut, of the source first, that is not planned yet.

        Vectors are planned side by side on all threads; the order of the cuts is that
        of names, then tasks.
        """
        self.source.plan()
        missing = [key for key in self._keys() if key not in self._planned]
        jobs = self._jobs(missing)
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        for planned in in_order(self._plan_jointly, jobs, threads):
            for key, cut in planned:
                self._planned[key] = cut
                self.on_plan()

    def _keys(self) -> list[Key]:
        """Every cut's key, in the order of names, then tasks."""
        keys: dict[Key, None] = {}
        for name in self.names:
            covered = self._covering(name)
            for task in self.tasks:
                keys[task, covered] = None
        return list(keys)

    def _covering(self, name: str) -> str:
        """The name of the cut that covers a tensor."""
        return cut_name(self.sparsifier.scope, name)

    def _jobs(self, keys: Sequence[Key]) -> Iterator[list[Key]]:
        """Cuts that a thread plans at a time.

        That is one, or those of all tasks where a tensor is a piece or less.
        """
        for covered, group in groupby(keys, key=lambda key: key[1]):
            if self.sparsifier.scope == "tensor" and self._is_small(covered):
                yield list(group)
            else:
                for key in group:
                    yield [key]

    def _is_small(self, name: str) -> bool:
        return len(self.tasks) * prod(self.shapes[name]) <= PIECE

    def _plan_jointly(self, keys: Sequence[Key]) -> list[tuple[Key, Cut]]:
        """The cuts of one key, or of several tasks' vectors of one tensor.

        The latter are read together.
        """
        plan = self.sparsifier.plan
        if len(keys) == 1:
            return [(keys[0], plan(self._covered(keys[0])))]
        planned: list[tuple[Key, Cut]] = []
        taus = self.source.taus(keys[0][1])
        for key in keys:
            tau = taus[self.tasks.index(key[0])]
            vector = self._covered(key).over(tau)
            planned.append((key, plan(vector)))
        return planned

    def _covered(self, key: Key) -> Vector:
        """What a cut covers: a tensor, or those of a layer or of the model joined."""
        task = self.tasks.index(key[0])
        scope = self.sparsifier.scope
        if scope == "model":
            return self.source.vector(task, None)
        if scope == "tensor":
            return self.source.vector(task, key[1])
        vectors: list[Vector] = []
        for name in self.names:
            if self._covering(name) == key[1]:
                vectors.append(self.source.vector(task, name))
        return _joined(key[1], vectors)

    def cut(self, task: int, name: str) -> tuple[Cut, int]:
        """The cut that covers a tensor, and the tensor's first flat index in it."""
        key = self.tasks[task], self._covering(name)
        if key not in self._planned:
            self._planned[key] = self.sparsifier.plan(self._covered(key))
            self.on_plan()
        return self._planned[key], self._offsets[name]

    @cached_property
    def _offsets(self) -> dict[str, int]:
        """Each tensor's first flat index in what its cut covers."""
        offsets: dict[str, int] = {}
        ends = Counter[str]()
        for name in self.names:
            covered = self._covering(name)
            offsets[name] = ends[covered]
            ends[covered] += prod(self.shapes[name])
        return offsets

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        """See Stream."""
        whole = start == 0 and stop is None
        if self._row(name) > 1 and not whole:
            return self._taus_by_rows(name, start, stop)
        cuts = [self.cut(task, name) for task in range(len(self.tasks))]
        return self.source.cut_taus(name, cuts, start, stop)

    def _row(self, name: str) -> int:
        """How many entries a cut must be shown together.

        It is a matrix row (along the last axis) where the rule goes by rows, else 1.
        """
        shape = self.shapes[name]
        if not shape or not self.sparsifier.by_rows:
            return 1
        return max(shape[-1], 1)

    def _taus_by_rows(self, name: str, start: int, stop: int | None) -> Taus:
        """A piece, cut together with the rest of
        the rows that it begins and ends in.
        """
        row = self._row(name)
        size = prod(self.shapes[name])
        stop = size if stop is None else stop
        first = start // row * row
        last = min(-(-stop // row) * row, size)
        taus = self.source.taus(name, first, last)
        for task, tau in enumerate(taus):
            cut, _ = self.cut(task, name)
            cut.apply_(tau, first)
        return taus[:, start - first : stop - first].contiguous()

    def vector(self, task: int, name: str | None) -> Vector:
        """See Stream."""
        source = self.source.vector(task, name)
        names = self.names if name is None else (name,)
        return replace(source, pieces=partial(self._pieces, task, names))

    def _pieces(self, task: int, names: Sequence[str]) -> Iterator[Tensor]:
        for name in names:
            cut, start = self.cut(task, name)
            pieces = self.source.vector(task, name).pieces()
            for piece in _whole_rows(pieces, self._row(name)):
                yield cut.apply(piece, start)
                start += len(piece)


def _joined(name: str, vectors: Sequence[Vector]) -> Vector:
    """One task's vectors, one after another."""
    size = sum(vector.size for vector in vectors)

    def pieces() -> Iterator[Tensor]:
        for vector in vectors:
            yield from vector.pieces()

    return Vector(vectors[0].task, name, (size,), size, pieces)


def _whole_rows(pieces: Iterator[Tensor], row: int) -> Iterator[Tensor]:
    """The same entries in pieces that end where a row of so many entries does."""
    rest: Tensor | None = None
    for piece in pieces:
        joined = piece if rest is None else torch.cat([rest, piece])
        end = len(joined) // row * row
        rest = joined[end:] if end < len(joined) else None
        if end:
            yield joined[:end]


def all_cuts(stream: Stream) -> Cuts:
    """Plans whatever is not planned yet and returns the cuts of the last sparsifier."""
    stream.plan()
    return stream.cuts()
