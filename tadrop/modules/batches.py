"""Batches of inputs, whatever they are made of.

A batch is a tensor, or a mapping or dataclass of tensors, in which None stands for one
that is not there. Token ids are integers [batch, length] with -1 after the end; batches
of different lengths are joined by padding, and nobody's padding is longer than it must
be.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

END = -1  # what stands after the end of a text


def mapped(function: Callable[..., Tensor], *batches: Any) -> Any:
    """The function of the batches' tensors, one by one, in a batch of the same kind."""
    first = batches[0]
    if first is None:
        return None
    if isinstance(first, Mapping):
        values: dict[str, Any] = {}
        for name in first:
            values[name] = mapped(function, *[batch[name] for batch in batches])
        return values
    if is_dataclass(first) and not isinstance(first, type):
        changes: dict[str, Any] = {}
        for field in fields(first):
            parts = [getattr(batch, field.name) for batch in batches]
            changes[field.name] = mapped(function, *parts)
        return replace(first, **changes)
    return function(*batches)


def tensors(batch: Any) -> Iterator[Tensor]:
    """The tensors that a batch is made of."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors(value)
    elif is_dataclass(batch):
        for field in fields(batch):
            yield from tensors(getattr(batch, field.name))


def moved(batch: Any, device: torch.device) -> Any:
    """The batch on a device."""
    return mapped(lambda tensor: tensor.to(device), batch)


def count(batch: Any) -> int:
    """How many examples there are in a batch."""
    return len(next(tensors(batch)))


def take(batch: Any, rows: Any) -> Any:
    """Some examples of a batch: a slice or an index tensor."""
    return mapped(lambda tensor: _trimmed(tensor[rows]), batch)


def split(batch: Any, size: int) -> Iterator[Any]:
    """The batch in order, `size` examples at a time; the last may be short."""
    for start in range(0, count(batch), size):
        yield take(batch, slice(start, start + size))


def join(batches: Sequence[Any]) -> Any:
    """One batch of all examples."""
    return mapped(_joined, *batches)


def unpadded(batch: Any) -> Iterator[Any]:
    """The examples in parts that hold no padding: texts of one length together.

    What is no text comes as it is.
    """
    if not isinstance(batch, Tensor) or not _is_text(batch):
        yield batch
        return
    lengths = (batch != END).sum(1)
    for length in lengths.unique().tolist():
        yield batch[lengths == length, :length]


def _is_text(tensor: Tensor) -> bool:
    return tensor.dim() == 2 and tensor.dtype == torch.long


def _joined(*parts: Tensor) -> Tensor:
    if not _is_text(parts[0]):
        return torch.cat(parts)
    longest = max(part.shape[1] for part in parts)
    padded: list[Tensor] = []
    for part in parts:
        padded.append(F.pad(part, (0, longest - part.shape[1]), value=END))
    return torch.cat(padded)


def _trimmed(tensor: Tensor) -> Tensor:
    if not _is_text(tensor) or not len(tensor):
        return tensor
    longest = int((tensor != END).sum(1).max())
    return tensor[:, : max(longest, 1)]
