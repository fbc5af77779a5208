"""Batches of inputs, whatever they are made of: a tensor, or a mapping or dataclass of
tensors (None: not there).

Token ids are integers [batch, length] with -1 after the end; batches of different
lengths are joined by padding, and nobody's padding is longer than it must be.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

END = -1  # what stands after the end of a text


def each(function: Callable[..., Tensor], *batches: Any) -> Any:
    """The function of the batches' tensors, one by one, in a batch of the same kind."""
    first = batches[0]
    if first is None:
        return None
    if isinstance(first, Mapping):
        return {
            name: each(function, *(batch[name] for batch in batches)) for name in first
        }
    if is_dataclass(first):
        names = [field.name for field in fields(first)]
        return replace(
            first,
            **{
                n: each(function, *(getattr(batch, n) for batch in batches))
                for n in names
            },
        )
    return function(*batches)


def moved(batch: Any, device: torch.device) -> Any:
    """The batch on a device."""
    return each(lambda tensor: tensor.to(device), batch)


def count(batch: Any) -> int:
    """How many examples there are in a batch."""
    sizes: list[int] = []
    each(lambda tensor: sizes.append(len(tensor)), batch)
    return sizes[0]


def take(batch: Any, rows: Any) -> Any:
    """Some examples of a batch: a slice or an index tensor."""
    return each(lambda tensor: _trimmed(tensor[rows]), batch)


def split(batch: Any, size: int) -> Iterator[Any]:
    """The batch in order, `size` examples at a time; the last may be short."""
    for at in range(0, count(batch), size):
        yield take(batch, slice(at, at + size))


def join(batches: Sequence[Any]) -> Any:
    """One batch of all examples."""
    return each(lambda *tensors: torch.cat(_padded(tensors)), *batches)


def unpadded(batch: Any) -> Iterator[Any]:
    """The examples in parts that hold no padding: texts of one length together; what is
    no text, as it is.
    """
    if not isinstance(batch, Tensor) or not _is_text(batch):
        yield batch
        return
    lengths = (batch != END).sum(1)
    for length in lengths.unique().tolist():
        yield batch[lengths == length, :length]


def _is_text(tensor: Tensor) -> bool:
    return tensor.dim() == 2 and tensor.dtype == torch.long


def _padded(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    if not _is_text(tensors[0]):
        return tensors
    longest = max(tensor.shape[1] for tensor in tensors)
    return [
        F.pad(tensor, (0, longest - tensor.shape[1]), value=END) for tensor in tensors
    ]


def _trimmed(tensor: Tensor) -> Tensor:
    if not _is_text(tensor) or not len(tensor):
        return tensor
    return tensor[:, : max(int((tensor != END).sum(1).max()), 1)]
