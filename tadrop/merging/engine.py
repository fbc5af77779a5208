"""Runs a merging method over a stream of task vectors and hands on, or holds, what
comes out.

An entry-scope method is fed blocks that fit a processor's cache, on all threads; a
tensor-scope method whole tensors, one at a time; a matrix-scope method those that the
backbone says are matrices, turned out x in. What comes out goes to a sink block by
block: into memory here, to disk in export.py. The scale (lambda) is applied afterwards,
so one merge serves a whole grid of scales.
"""

from collections.abc import Callable, Mapping
from math import prod
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tadrop.merging.method import Method
from tadrop.numerics import compiled
from tadrop.protocols import Statistics, Stream
from tadrop.types import Deltas, LowRank, Masked, MatrixLayout, TadropError, Taus
from tadrop.vectors.merged import Merged, MergedPiece, pack
from tadrop.vectors.passes import count_nonzero, over_pieces

Put = Callable[
    [str, int, MergedPiece], None
]  # takes (tensor name, first flat index, merged block) on any thread


def _expect_shape(merged: MergedPiece, taus: Taus, name: str) -> None:
    """A formula that returns the wrong shape is a bug worth naming at once."""
    tasks, *shape = taus.shape
    if isinstance(merged, LowRank):
        left, right = merged.left.shape, merged.right.shape
        fits = [left[0], right[0], left[1], right[2], left[2]] == [
            tasks,
            tasks,
            *shape,
            right[1],
        ]
    elif isinstance(merged, Masked):
        fits = list(merged.shared.shape) == shape and merged.masks.shape == taus.shape
    else:
        fits = list(merged.shape[1:]) == shape and len(merged) in (1, tasks)
    if not fits:
        raise TadropError(
            f"the method returned a result that does not fit tensor {name!r} of shape {shape}"
        )


def _run(
    stream: Stream,
    method: Method,
    name: str,
    start: int,
    taus: Taus,
    extra: Mapping[str, Any],
) -> MergedPiece:
    """One block through the method: merge, or rest where a matrix-scope method meets
    another kind of tensor.
    """
    if method.scope == "matrix":
        layout = stream.matrix_layouts.get(name, MatrixLayout())
        return (
            _run_matrices(layout, method, taus, extra)
            if layout.kind in method.kinds
            else method.rest(taus)
        )
    handed, stop = dict(extra), start + taus[0].numel()
    if "uncut" in method.needs:
        handed["uncut"] = stream.uncut.taus(name, start, stop).view(taus.shape)
    if "theta0" in method.needs:
        handed["theta0"] = stream.theta0(name, start, stop).view(taus.shape[1:])
    return method.merge(taus, **handed)


def _run_matrices(
    layout: MatrixLayout, method: Method, taus: Taus, extra: Mapping[str, Any]
) -> Deltas | LowRank:
    """A tensor's matrices one by one, put back as the tensor is stored."""
    results = [
        method.merge(matrix, **extra) for matrix in layout.split(taus, method.fused)
    ]
    if not isinstance(results[0], LowRank):
        return layout.join(results)
    if len(results) > 1:
        raise TadropError(
            "a method that returns thin factors takes fused matrices whole: set fused=whole"
        )
    left, right = results[0]
    return (
        LowRank(right.mT.contiguous(), left.mT.contiguous())
        if layout.transposed
        else results[0]
    )


def _check_layouts(stream: Stream, method: Method) -> None:
    """A per-matrix method on a backbone that names no matrices would quietly do
    something else.
    """
    if method.scope != "matrix":
        return
    if not any(
        layout.kind in method.kinds for layout in stream.matrix_layouts.values()
    ):
        raise TadropError(
            "this method works on matrices and the model names none: list them in model.matrices"
        )


class Summary(NamedTuple):
    """What is known of a merge when the last block is done: see Merged."""

    factors: Tensor | None
    density: float


class _Block(NamedTuple):
    entries: int
    nonzero: int
    tally: Tensor | int


def _block(
    statistics: Statistics, name: str, start: int, taus: Taus, size: int, scope: str
) -> dict[str, Tensor | None]:
    """The statistics of what a block of task vectors covers, as merge is handed them;
    entry by entry, of its shape.
    """
    count = taus[0].numel()
    span = (0, None) if count == size else (start, start + count)
    block = statistics.read(name, *span)
    fits = scope == "entry" and block is not None
    return {"statistics": block.reshape(len(block), *taus.shape[1:]) if fits else block}


def merge_into(
    put: Put,
    stream: Stream,
    method: Method,
    on_tensor: Callable[[str], None] = lambda name: None,
    statistics: Statistics | None = None,
) -> Summary:
    """Merges block by block and puts every result into a sink, in any order and from
    several threads at once.

    on_tensor is told each name when it is done.
    """
    _check_layouts(stream, method)
    stream.plan()
    known = {} if statistics is None else {"statistics": statistics}
    survey = {} if method.survey is None else {"survey": method.survey(stream, **known)}
    sizes = {name: prod(stream.shapes[name]) for name in stream.names}

    def work(name: str, start: int, taus: Taus) -> _Block:
        nonzero = count_nonzero(taus, sizes[name])
        if method.compiled is not None and compiled.worthwhile(sizes[name], taus):
            merged, tally = method.compiled(taus, **survey)
        else:
            measured = (
                {}
                if statistics is None
                else _block(statistics, name, start, taus, sizes[name], method.scope)
            )
            merged = _run(stream, method, name, start, taus, survey | measured)
            _expect_shape(merged, taus, name)
            tally = None if method.tally is None else method.tally(taus, merged)
        put(name, start, merged)
        return _Block(taus[0].numel(), nonzero, 0 if tally is None else tally)

    tallies, nonzero, entries = dict.fromkeys(stream.names, 0), 0, 0
    for name, results in over_pieces(stream, work, method.scope):
        for result in results:
            nonzero += result.nonzero
            entries += result.entries
            tallies[name] = tallies[name] + result.tally
        if entries == sizes[name]:
            on_tensor(name)
            entries = 0
    factors = None
    if method.rescale is not None:
        factors = method.rescale(
            torch.stack(list(tallies.values())), torch.tensor(list(sizes.values()))
        )
    return Summary(factors, nonzero / (len(stream.tasks) * sum(sizes.values())))


class _Memory:
    """A sink that holds everything: deltas and packed masks by name."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes, self.lock = shapes, Lock()
        self.deltas: dict[str, Tensor] = {}
        self.masks: dict[str, Tensor] = {}
        self.low_rank: dict[str, LowRank] = {}

    def put(self, name: str, start: int, merged: MergedPiece) -> None:
        if isinstance(merged, LowRank):
            self.low_rank[name] = merged
            return
        shared = merged.shared[None] if isinstance(merged, Masked) else merged
        self._place(
            self.deltas,
            name,
            start,
            shared.reshape(len(shared), -1),
            prod(self.shapes[name]),
        )
        if isinstance(merged, Masked):
            bits = pack(merged.masks)
            self._place(
                self.masks, name, start // 8, bits, (prod(self.shapes[name]) + 7) // 8
            )

    def _place(
        self, where: dict[str, Tensor], name: str, start: int, rows: Tensor, size: int
    ) -> None:
        """rows [k, n] into where[name] [k, size] at column start."""
        with self.lock:
            if name not in where:
                where[name] = torch.empty(
                    len(rows), size, dtype=rows.dtype, device=rows.device
                )
        if where[name].shape[0] != len(rows):
            raise TadropError(
                f"the method returned {len(rows)} models for a part of tensor {name!r}, others elsewhere"
            )
        where[name][:, start : start + rows.shape[1]] = rows


def merge(
    stream: Stream,
    method: Method,
    on_tensor: Callable[[str], None] = lambda name: None,
    statistics: Statistics | None = None,
) -> Merged:
    """Merges tensor by tensor and holds the result. on_tensor is told each name when it
    is done.
    """
    memory = _Memory(stream.shapes)
    factors, density = merge_into(memory.put, stream, method, on_tensor, statistics)
    held = {n: memory.deltas[n] for n in stream.names if n in memory.deltas}
    deltas = {n: rows.view(len(rows), *stream.shapes[n]) for n, rows in held.items()}
    masks = {n: memory.masks[n] for n in stream.names if n in memory.masks}
    return Merged(stream.tasks, deltas, masks, factors, density, memory.low_rank)
