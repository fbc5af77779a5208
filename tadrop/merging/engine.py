"""Runs a merging method over a stream of task vectors and hands on what comes out.

An entry-scope method is fed pieces that fit a processor's cache, on all threads; a
tensor-scope method whole tensors, one at a time; a matrix-scope method those that the
backbone says are matrices, turned out x in. What comes out goes to a sink piece by
piece: into memory here, to disk in export.py. The scale (lambda) is applied afterwards,
so one merge serves a whole grid of scales.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tadrop.merging.memory import Memory
from tadrop.merging.method import Method
from tadrop.numerics import compiled
from tadrop.protocols.streams import Stream
from tadrop.protocols.workbench import Statistics
from tadrop.types import (
    Deltas,
    LowRank,
    Masked,
    MatrixLayout,
    MergedPiece,
    TadropError,
    Taus,
)
from tadrop.vectors.merged import Merged
from tadrop.vectors.passes import count_nonzero, over_pieces

# A method's result before its shape is looked at.
Unchecked = Tensor | Masked | LowRank
# Takes (tensor name, first flat index, merged piece), on any thread.
Put = Callable[[str, int, MergedPiece], None]


# Settings of a formula that vary from tensor to tensor, {word: {tensor: value}}.
Knobs = Mapping[str, Mapping[str, float]]
NO_KNOBS: Knobs = {}


class Summary(NamedTuple):
    """What is known of a merge when the last piece is done: see Merged."""

    factors: Tensor | None
    density: float


class _Counts(NamedTuple):
    """What is added up over the pieces of a tensor."""

    entries: int
    nonzero: int
    tally: Tensor | None


def _fits(merged: Unchecked, taus: Taus) -> bool:
    """Whether a result is of the task vectors' shape."""
    tasks, *shape = taus.shape
    if isinstance(merged, LowRank):
        rank = merged.left.shape[-1]
        if len(shape) != 2:
            return False
        left, right = (tasks, shape[0], rank), (tasks, rank, shape[1])
        return merged.left.shape == left and merged.right.shape == right
    if isinstance(merged, Masked):
        return list(merged.shared.shape) == shape and merged.masks.shape == taus.shape
    return list(merged.shape[1:]) == shape and len(merged) in (1, tasks)


@dataclass(frozen=True)
class _Pass:
    """A method's pass over a stream: what every piece of it is merged with."""

    stream: Stream
    method: Method
    survey: Mapping[str, Any]
    statistics: Statistics | None
    weights: Mapping[str, Sequence[float]] | None = None
    knobs: Knobs = field(default_factory=dict)

    def merged(
        self,
        name: str,
        start: int,
        taus: Taus,
    ) -> tuple[MergedPiece, Tensor | None]:
        """What the method makes of a piece, and the tally of it.

        Raises TadropError if the result does not fit the piece.
        """
        method = self.method
        size = prod(self.stream.shapes[name])
        # The kernels know neither weights nor knobs that vary.
        is_plain = self.weights is None and not self.knobs
        fast = method.compiled if is_plain else None
        if fast is not None and compiled.worthwhile(size, taus):
            return fast(taus, **self.survey)
        merged = self._plain(name, start, taus)
        if not _fits(merged, taus):
            raise TadropError(
                "the method returned a result that does not fit "
                f"tensor {name!r} of shape {list(taus.shape[1:])}"
            )
        if method.tally is None:
            return merged, None
        return merged, method.tally(taus, merged)

    def _plain(self, name: str, start: int, taus: Taus) -> Unchecked:
        """What the formula gives.

        A tensor that is no matrix for a matrix-scope method gets what `rest` says.
        """
        method = self.method
        if method.scope != "matrix":
            return method.merge(taus, **self._handed(name, start, taus))
        layout = self.stream.matrix_layouts.get(name, MatrixLayout())
        if layout.kind in method.kinds:
            handed = self._handed(name, start, taus)
            return _run_matrices(layout, method, taus, handed)
        assert method.rest is not None, "Method refuses the scope without it"
        return method.rest(taus)

    def _handed(self, name: str, start: int, taus: Taus) -> dict[str, Any]:
        """What merge is handed by name beside the task vectors."""
        handed = dict(self.survey)
        stop = start + taus[0].numel()
        for word, values in self.knobs.items():
            handed[word] = values[name]
        if self.statistics is not None:
            handed["statistics"] = self._measured(name, start, taus)
        if self.weights is not None:
            handed["weights"] = torch.tensor(self.weights[name], device=taus.device)
        if "uncut" in self.method.needs:
            uncut = self.stream.uncut().taus(name, start, stop)
            handed["uncut"] = uncut.view(taus.shape)
        if "theta0" in self.method.needs:
            theta0 = self.stream.theta0(name, start, stop)
            handed["theta0"] = theta0.view(taus.shape[1:])
        if "order" in self.method.needs:
            handed["order"] = self.stream.order
        return handed

    def _measured(self, name: str, start: int, taus: Taus) -> Tensor | None:
        """The statistics of what a piece covers.

        For an entry-scope method they are of the piece's shape.
        """
        assert self.statistics is not None
        count = taus[0].numel()
        if count == prod(self.stream.shapes[name]):
            piece = self.statistics.read(name)
        else:
            piece = self.statistics.read(name, start, start + count)
        if piece is None or self.method.scope != "entry":
            return piece
        return piece.reshape(len(piece), *taus.shape[1:])


def _run_matrices(
    layout: MatrixLayout,
    method: Method,
    taus: Taus,
    extra: Mapping[str, Any],
) -> Deltas | LowRank:
    """A tensor's matrices one by one, put back as the tensor is stored."""
    deltas: list[Tensor] = []
    for matrix in layout.split(taus, method.fused):
        result = method.merge(matrix, **extra)
        if isinstance(result, LowRank):
            return _run_thin(layout, method, result)
        if isinstance(result, Masked):
            raise TadropError("a method of scope matrix cannot return masks")
        deltas.append(result)
    return layout.join(deltas)


def _run_thin(layout: MatrixLayout, method: Method, thin: LowRank) -> LowRank:
    """Thin factors of a tensor's only matrix, as the tensor is stored."""
    if method.fused == "split" and layout.blocks > 1:
        raise TadropError(
            "a method that returns thin factors takes fused matrices whole: "
            "set fused=whole"
        )
    if layout.transposed:
        return LowRank(thin.right.mT.contiguous(), thin.left.mT.contiguous())
    return thin


def _check_layouts(stream: Stream, method: Method) -> None:
    """Raises TadropError for a per-matrix method where the backbone names no matrices.

    It would quietly do something else.
    """
    if method.scope != "matrix":
        return
    kinds = {layout.kind for layout in stream.matrix_layouts.values()}
    if kinds.isdisjoint(method.kinds):
        raise TadropError(
            "this method works on matrices and the model names none: "
            "list them in model.matrices"
        )


def _surveyed(
    stream: Stream,
    method: Method,
    statistics: Statistics | None,
) -> dict[str, Any]:
    """What the method learns from a pass over all task vectors, by name."""
    if method.survey is None:
        return {}
    if statistics is None:
        return {"survey": method.survey(stream)}
    return {"survey": method.survey(stream, statistics=statistics)}


def _silent(name: str) -> None:
    """The usual on_tensor."""


def merge_into(
    put: Put,
    stream: Stream,
    method: Method,
    on_tensor: Callable[[str], None] = _silent,
    statistics: Statistics | None = None,
    weights: Mapping[str, Sequence[float]] | None = None,
    knobs: Knobs = NO_KNOBS,
) -> Summary:
    """Merges piece by piece and puts every result into a sink.

    Results come in any order and from several threads at once. on_tensor is told each
    name when it is done. weights: what the stream's vectors were multiplied by, one a
    task, by tensor; see weighting.py. knobs: settings of the formula, {word: {tensor:
    value}}
    """
    _check_layouts(stream, method)
    stream.plan()
    survey = _surveyed(stream, method, statistics)
    formula = _Pass(stream, method, survey, statistics, weights, knobs)
    sizes = {name: prod(stream.shapes[name]) for name in stream.names}

    def work(name: str, start: int, taus: Taus) -> _Counts:
        nonzero = count_nonzero(taus, sizes[name])
        merged, tally = formula.merged(name, start, taus)
        put(name, start, merged)
        return _Counts(taus[0].numel(), nonzero, tally)

    tallies: dict[str, Tensor] = {}
    nonzero = entries = 0
    for name, results in over_pieces(stream, work, method.scope):
        for counts in results:
            nonzero += counts.nonzero
            entries += counts.entries
            if counts.tally is not None:
                tallies[name] = tallies.get(name, 0) + counts.tally
        if entries == sizes[name]:
            on_tensor(name)
            entries = 0
    factors: Tensor | None = None
    if method.rescale is not None:
        sums = torch.stack(list(tallies.values()))
        factors = method.rescale(sums, torch.tensor(list(sizes.values())))
    return Summary(factors, nonzero / (len(stream.tasks) * sum(sizes.values())))


def merge(
    stream: Stream,
    method: Method,
    on_tensor: Callable[[str], None] = _silent,
    statistics: Statistics | None = None,
) -> Merged:
    """Merges tensor by tensor and holds the result, in the order of the stream's names.

    on_tensor is told each name when it is done.
    """
    memory = Memory(stream.shapes)
    factors, density = merge_into(memory.put, stream, method, on_tensor, statistics)
    deltas: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for name in stream.names:
        if name in memory.deltas:
            rows = memory.deltas[name]
            deltas[name] = rows.view(len(rows), *stream.shapes[name])
        if name in memory.masks:
            masks[name] = memory.masks[name]
    return Merged(stream.tasks, deltas, masks, factors, density, memory.low_rank)
