"""Inputs of a task for methods that look at data: re-batched and shuffled by words, in memory that does not grow.

Token ids, integers with -1 after the end of a row, are padded to the longest row of the batch that is handed out.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from tadrop.seeds import generator
from tadrop.types import TadropError, Tasks

if TYPE_CHECKING:
    from numpy.random import Generator

WINDOW = 4096  # inputs held for shuffling: a split of at most so many is shuffled as a whole


def shuffled(tasks: Tasks, task: str, split: str, size: int, *words: object) -> Iterator[Tensor]:
    """One epoch in batches of `size` inputs without targets, in an order the words decide; the last may be short."""
    rng = generator("samples", task, split, *words)
    held, count = [], 0
    for inputs, _ in tasks.batches(task, split):
        if not isinstance(inputs, Tensor):
            raise TadropError(f"task {task!r} shows its model more than one tensor: no row that looks at data takes it")
        held.append(inputs)
        count += len(inputs)
        if count >= WINDOW:
            whole, rest = _mixed(held, rng), count % size
            yield from map(trimmed, whole[: count - rest].split(size))
            held, count = [whole[count - rest :]], rest
    if count:
        yield from map(trimmed, _mixed(held, rng).split(size))


def _mixed(held: list[Tensor], rng: "Generator") -> Tensor:
    whole = _joined(held)
    return whole[torch.from_numpy(rng.permutation(len(whole)))]


def _joined(parts: list[Tensor]) -> Tensor:
    """One batch of several."""
    if not holds_ids(parts[0]):
        return torch.cat(parts)
    longest = max(part.shape[1] for part in parts)
    return torch.cat([F.pad(part, (0, longest - part.shape[1]), value=-1) for part in parts])


def holds_ids(inputs: Tensor) -> bool:
    """Whether inputs are token ids [batch, length]."""
    return inputs.dim() == 2 and inputs.dtype == torch.long


def trimmed(inputs: Tensor) -> Tensor:
    """Without the columns that are padding in every row."""
    return inputs[:, : int((inputs >= 0).sum(1).max())] if holds_ids(inputs) else inputs


def unpadded(inputs: Tensor) -> Iterator[Tensor]:
    """The rows in parts that hold no padding: rows of one length together."""
    if not holds_ids(inputs):
        yield inputs
        return
    lengths = (inputs >= 0).sum(1)
    for length in lengths.unique().tolist():
        yield inputs[lengths == length, :length]


def endless(tasks: Tasks, task: str, split: str, size: int, *words: object) -> Iterator[Tensor]:
    """Epoch after epoch, each in an order of its own."""
    epoch = 0
    while True:
        empty = True
        for inputs in shuffled(tasks, task, split, size, *words, epoch):
            empty = False
            yield inputs
        if empty:
            raise TadropError(f"task {task!r} has no examples in its {split} split")
        epoch += 1


def first(tasks: Tasks, task: str, split: str, examples: int, size: int, *words: object) -> Iterator[Tensor]:
    """At most `examples` inputs of one epoch, in batches of `size`."""
    for inputs in shuffled(tasks, task, split, size, *words):
        yield inputs[:examples]
        examples -= len(inputs)
        if examples <= 0:
            return
