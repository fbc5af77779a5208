"""A stream whose vectors are cut by a sparsifier; cuts are planned once, when first
needed, and kept.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, groupby
from math import prod
from typing import Any

import torch
from torch import Tensor

from tadrop.numerics.threads import in_order
from tadrop.protocols import Cut, Derived, Sparsifier, Stream
from tadrop.types import Taus, Vector
from tadrop.vectors.names import cut_name
from tadrop.vectors.passes import BLOCK, device_of
from tadrop.vectors.task_vectors import TaskVectors


@dataclass(frozen=True)
class Sparse(Derived):
    """A stream whose vectors are cut by a sparsifier; cuts are planned once, when first
    needed, and kept.
    """

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
        """The cut that covers a tensor, and the tensor's first flat index in the cut
        vector.
        """
        covered = cut_name(self.sparsifier.scope, name)
        key = (self.tasks[task], covered)
        if key not in self.cuts:
            (vector,) = self.covered([key])
            self.cuts[key] = self.sparsifier.plan(vector)
            self.on_plan()
        return self.cuts[key], self._offsets[name]

    def covered(self, keys: Sequence[tuple[str, str]]) -> Iterator[Vector]:
        """What these cuts cover, by task and name of the cut: a tensor, or those of a
        layer or of the model joined.

        Several tasks' vectors of one tensor are read together.
        """
        together = self.source.taus(keys[0][1]) if len(keys) > 1 else None
        for key in keys:
            task, covered = self.tasks.index(key[0]), key[1]
            vector = self._joined(task, covered)
            yield vector if together is None else vector.over(together[task])

    def _joined(self, task: int, covered: str) -> Vector:
        if self.sparsifier.scope != "layer":
            return self.source.vector(
                task, covered if self.sparsifier.scope == "tensor" else None
            )
        names = [
            name
            for name in self.names
            if cut_name(self.sparsifier.scope, name) == covered
        ]
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
        """How many entries a cut must be shown together: a row (last axis) where the
        rule goes by rows.
        """
        shape = self.shapes[name]
        return (
            max(shape[-1], 1)
            if shape and getattr(self.sparsifier, "by_rows", False)
            else 1
        )

    def _taus_by_rows(self, name: str, start: int, stop: int | None) -> Taus:
        """A piece of a tensor, cut together with the rest of the rows that it begins
        and ends in.
        """
        row, size = self._row(name), prod(self.shapes[name])
        stop = size if stop is None else stop
        first, last = start // row * row, min(-(-stop // row) * row, size)
        taus = self.source.taus(name, first, last)
        whole = torch.stack(
            [self.cut(task, name)[0].apply(tau, first) for task, tau in enumerate(taus)]
        )
        return whole[:, start - first : stop - first]

    def vector(self, task: int, name: str | None) -> Vector:
        source = self.source.vector(task, name)
        return Vector(
            source.task,
            source.name,
            source.shape,
            source.size,
            lambda: self._pieces(task, name),
        )

    def _pieces(self, task: int, name: str | None) -> Iterator[Tensor]:
        for each in self.names if name is None else (name,):
            cut, at = self.cut(task, each)
            for piece in _whole_rows(
                self.source.vector(task, each).pieces(), self._row(each)
            ):
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


def all_cuts(stream: Sparse) -> dict[tuple[str, str], Cut]:
    """Plans whatever is not planned yet and returns every cut by (task, what it covers:
    see cut_name).

    Vectors are planned side by side on all threads; the order of the cuts is that of
    names, then tasks.
    """
    if isinstance(stream.source, Sparse):
        all_cuts(stream.source)
    covers = dict.fromkeys(
        cut_name(stream.sparsifier.scope, name) for name in stream.names
    )
    keys = [(task, covered) for covered in covers for task in stream.tasks]

    def plan(job: list[tuple[str, str]]) -> list[tuple[tuple[str, str], Cut]]:
        return [
            (key, stream.sparsifier.plan(vector))
            for key, vector in zip(job, stream.covered(job), strict=True)
        ]

    threads = torch.get_num_threads() if device_of(stream).type == "cpu" else 1
    for planned in in_order(
        plan, _jobs(stream, [key for key in keys if key not in stream.cuts]), threads
    ):
        for key, cut in planned:
            stream.cuts[key] = cut
            stream.on_plan()
    return {key: stream.cuts[key] for key in keys}


def _jobs(
    stream: Sparse, keys: Sequence[tuple[str, str]]
) -> Iterator[list[tuple[str, str]]]:
    """Cuts that a thread plans at a time: one, or all tasks' of a tensor that is a
    block or less.
    """
    for covered, group in groupby(keys, key=lambda key: key[1]):
        job = list(group)
        if (
            stream.sparsifier.scope == "tensor"
            and len(stream.tasks) * prod(stream.shapes[covered]) <= BLOCK
        ):
            yield job
        else:
            yield from ([key] for key in job)
