"""Runs a merging method over a stream of task vectors and holds what comes out.

An entry-scope method is fed pieces that fit a processor's cache, a tensor-scope method whole tensors; no stage sees
more than one of them at a time. The scale (lambda) is applied afterwards, so one merge serves a whole grid of scales.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tadrop.checkpoint import Checkpoint
from tadrop.stream import numel
from tadrop.types import Masked, Method, Stream, TadropError, Taus

BLOCK = 1 << 20  # entries of all tasks together in one piece of an entry-scope method


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

    def delta(self, task: str, name: str) -> Tensor:
        """Task t's delta of one tensor, before the scale."""
        index = self.tasks.index(task)
        stacked = self.deltas[name]
        delta = stacked[index if len(stacked) > 1 else 0]
        if name in self.masks:
            bits = np.unpackbits(self.masks[name][index].numpy(), count=delta.numel())
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


def pieces(stream: Stream, name: str, scope: str) -> Iterator[tuple[int, int | None]]:
    """The (start, stop) of the blocks in which a method of this scope is shown a tensor."""
    size = numel(stream.shapes[name])
    step = max(BLOCK // len(stream.tasks), 1)
    if scope == "tensor" or size <= step:
        yield 0, None
        return
    for start in range(0, size, step):
        yield start, min(start + step, size)


def _expect_shape(merged: Tensor | Masked, taus: Taus, name: str) -> None:
    """A formula that returns the wrong shape is a bug worth naming at once."""
    tasks, *shape = taus.shape
    if isinstance(merged, Masked):
        fits = list(merged.shared.shape) == shape and merged.masks.shape == taus.shape
    else:
        fits = list(merged.shape[1:]) == shape and len(merged) in (1, tasks)
    if not fits:
        raise TadropError(f"the method returned a result that does not fit tensor {name!r} of shape {shape}")


def _join(parts: list[Tensor | Masked], shape: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """The blocks of one tensor as deltas [model, *shape] and packed masks."""
    if not isinstance(parts[0], Masked):
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return joined.reshape(len(joined), *shape), None
    shared = torch.cat([p.shared.reshape(-1) for p in parts]).reshape(1, *shape)
    masks = torch.cat([p.masks.reshape(len(p.masks), -1) for p in parts], dim=1)
    return shared, torch.from_numpy(np.packbits(masks.cpu().numpy(), axis=1))


def merge(stream: Stream, method: Method, on_tensor: Callable[[str], None] = lambda name: None) -> Merged:
    """Merges tensor by tensor. on_tensor is told each name when it is done."""
    survey = {} if method.survey is None else {"survey": method.survey(stream)}
    deltas, masks, tallies, nonzero = {}, {}, [], 0
    for name in stream.names:
        parts, tally = [], 0
        for start, stop in pieces(stream, name, method.scope):
            taus = stream.taus(name, start, stop)
            nonzero += int(torch.count_nonzero(taus))
            part = method.merge(taus, **survey)
            _expect_shape(part, taus, name)
            if method.tally is not None:
                tally = tally + method.tally(taus, part)
            parts.append(part)
        deltas[name], mask = _join(parts, stream.shapes[name])
        if mask is not None:
            masks[name] = mask
        tallies.append(tally)
        on_tensor(name)
    sizes = torch.tensor([numel(stream.shapes[n]) for n in stream.names])
    factors = None if method.rescale is None else method.rescale(torch.stack(tallies), sizes)
    return Merged(stream.tasks, deltas, masks, factors, nonzero / (len(stream.tasks) * int(sizes.sum())))


def materialise(base: Checkpoint, merged: Merged, task: str, scale: float) -> Iterator[tuple[str, Tensor]]:
    """theta0 + scale * delta for every merged tensor, one at a time, float32."""
    for name in merged.deltas:
        delta = merged.delta(task, name)
        yield name, base[name].to(delta.device, torch.float32) + scale * delta
