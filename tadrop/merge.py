"""Runs a merging method over a stream of task vectors and hands on, or holds, what comes out.

An entry-scope method is fed blocks that fit a processor's cache, on all threads; a tensor-scope method whole tensors,
one at a time. What comes out goes to a sink block by block: into memory here, to disk in export.py. The scale (lambda)
is applied afterwards, so one merge serves a whole grid of scales.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tadrop import compiled
from tadrop.blocks import over_blocks
from tadrop.checkpoint import Checkpoint
from tadrop.stream import Sparse, all_cuts, count_nonzero
from tadrop.types import Deltas, Masked, Method, Stream, TadropError, Taus

Put = Callable[[str, int, Deltas | Masked], None]  # takes (tensor name, first flat index, merged block) on any thread


@dataclass(frozen=True)
class Merged:
    """What a merge produced: per tensor a delta for each model, with masks at one bit an entry where there are any.

    deltas[name]: [model, *shape] float32, model = 1 (shared) or T (one per task)
    masks[name]: [task, ceil(n / 8)] uint8, bit i of an entry's byte as numpy.packbits lays it out
    factors: [T] one factor per task, or None
    density: fraction of entries of the task vectors that were not zero when they were merged
    """

    tasks: tuple[str, ...]
    deltas: dict[str, Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)
    factors: Tensor | None = None
    density: float = 1.0

    def delta(self, task: str, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Task t's delta of one tensor, or its flat entries start (a multiple of 8) to stop, before the scale."""
        index = self.tasks.index(task)
        stacked = self.deltas[name]
        delta = stacked[index if len(stacked) > 1 else 0]
        if start or stop is not None:
            delta = delta.reshape(-1)[start:stop]
        if name in self.masks:
            packed = self.masks[name][index, start // 8 : (start + delta.numel() + 7) // 8]
            bits = np.unpackbits(packed.numpy(), count=delta.numel())
            delta = delta * torch.from_numpy(bits).to(delta.device).view(delta.shape)
        return delta if self.factors is None else delta * self.factors[index].to(delta)

    @property
    def is_shared(self) -> bool:
        """Whether all tasks get the same weights."""
        return not self.masks and self.factors is None and all(len(d) == 1 for d in self.deltas.values())

    def stored_bytes(self) -> int:
        """Bytes that this result takes beside the base: float32 deltas, one-bit masks, float32 factors."""
        tensors = (*self.deltas.values(), *self.masks.values())
        return sum(t.numel() * t.element_size() for t in tensors) + (
            0 if self.factors is None else 4 * len(self.factors)
        )


def _expect_shape(merged: Tensor | Masked, taus: Taus, name: str) -> None:
    """A formula that returns the wrong shape is a bug worth naming at once."""
    tasks, *shape = taus.shape
    if isinstance(merged, Masked):
        fits = list(merged.shared.shape) == shape and merged.masks.shape == taus.shape
    else:
        fits = list(merged.shape[1:]) == shape and len(merged) in (1, tasks)
    if not fits:
        raise TadropError(f"the method returned a result that does not fit tensor {name!r} of shape {shape}")


class Summary(NamedTuple):
    """What is known of a merge when the last block is done: see Merged."""

    factors: Tensor | None
    density: float


class _Block(NamedTuple):
    entries: int
    nonzero: int
    tally: Tensor | int


def merge_into(
    put: Put, stream: Stream, method: Method, on_tensor: Callable[[str], None] = lambda name: None
) -> Summary:
    """Merges block by block and puts every result into a sink, in any order and from several threads at once.

    on_tensor is told each name when it is done.
    """
    if isinstance(stream, Sparse):
        all_cuts(stream)
    survey = {} if method.survey is None else {"survey": method.survey(stream)}
    sizes = {name: prod(stream.shapes[name]) for name in stream.names}

    def work(name: str, start: int, taus: Taus) -> _Block:
        nonzero = count_nonzero(taus, sizes[name])
        if method.fused is not None and compiled.worthwhile(sizes[name], taus):
            merged, tally = method.fused(taus, **survey)
        else:
            merged = method.merge(taus, **survey)
            _expect_shape(merged, taus, name)
            tally = None if method.tally is None else method.tally(taus, merged)
        put(name, start, merged)
        return _Block(taus[0].numel(), nonzero, 0 if tally is None else tally)

    tallies, nonzero, entries = dict.fromkeys(stream.names, 0), 0, 0
    for name, results in over_blocks(stream, work, method.scope):
        for result in results:
            nonzero += result.nonzero
            entries += result.entries
            tallies[name] = tallies[name] + result.tally
        if entries == sizes[name]:
            on_tensor(name)
            entries = 0
    factors = None
    if method.rescale is not None:
        factors = method.rescale(torch.stack(list(tallies.values())), torch.tensor(list(sizes.values())))
    return Summary(factors, nonzero / (len(stream.tasks) * sum(sizes.values())))


class _Memory:
    """A sink that holds everything: deltas and packed masks by name."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes, self.lock = shapes, Lock()
        self.deltas: dict[str, Tensor] = {}
        self.masks: dict[str, Tensor] = {}

    def put(self, name: str, start: int, merged: Deltas | Masked) -> None:
        shared = merged.shared[None] if isinstance(merged, Masked) else merged
        self._place(self.deltas, name, start, shared.reshape(len(shared), -1), prod(self.shapes[name]))
        if isinstance(merged, Masked):
            bits = pack(merged.masks)
            self._place(self.masks, name, start // 8, bits, (prod(self.shapes[name]) + 7) // 8)

    def _place(self, where: dict[str, Tensor], name: str, start: int, rows: Tensor, size: int) -> None:
        """rows [k, n] into where[name] [k, size] at column start."""
        with self.lock:
            if name not in where:
                where[name] = torch.empty(len(rows), size, dtype=rows.dtype, device=rows.device)
        if where[name].shape[0] != len(rows):
            raise TadropError(f"the method returned {len(rows)} models for a part of tensor {name!r}, others elsewhere")
        where[name][:, start : start + rows.shape[1]] = rows


def pack(masks: Tensor) -> Tensor:
    """Bool masks [task, *shape] as bits [task, ceil(n / 8)] uint8, laid out as numpy.packbits does."""
    return torch.from_numpy(np.packbits(masks.reshape(len(masks), -1).cpu().numpy(), axis=1))


def merge(stream: Stream, method: Method, on_tensor: Callable[[str], None] = lambda name: None) -> Merged:
    """Merges tensor by tensor and holds the result. on_tensor is told each name when it is done."""
    memory = _Memory(stream.shapes)
    factors, density = merge_into(memory.put, stream, method, on_tensor)
    deltas = {n: memory.deltas[n].view(-1, *stream.shapes[n]) for n in stream.names}
    masks = {n: memory.masks[n] for n in stream.names if n in memory.masks}
    return Merged(stream.tasks, deltas, masks, factors, density)


def materialise(base: Checkpoint, merged: Merged, task: str, scale: float) -> Iterator[tuple[str, Tensor]]:
    """theta0 + scale * delta for every merged tensor, one at a time, float32."""
    for name in merged.deltas:
        delta = merged.delta(task, name)
        yield name, base[name].to(delta.device, torch.float32) + scale * delta
