"""Inputs of a task for methods that look at data: re-batched and shuffled by words, in
memory that does not grow.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tadrop.modules import batches as batching
from tadrop.numerics.seeds import generator
from tadrop.protocols import Tasks
from tadrop.types import TadropError

if TYPE_CHECKING:
    from numpy.random import Generator

WINDOW = (
    4096  # inputs held for shuffling: a split of at most so many is shuffled as a whole
)


def shuffled(
    tasks: Tasks, task: str, split: str, size: int, *words: object
) -> Iterator[Any]:
    """One epoch in batches of `size` inputs without targets, in an order the words
    decide; the last may be short.
    """
    rng = generator("samples", task, split, *words)
    held, count = [], 0
    for inputs, _ in tasks.batches(task, split):
        if not isinstance(inputs, Tensor):
            raise TadropError(
                f"task {task!r} shows its model more than one tensor: no row that looks at data takes it"
            )
        held.append(inputs)
        count += batching.count(inputs)
        if count >= WINDOW:
            whole, rest = _mixed(held, rng), count % size
            yield from batching.split(batching.take(whole, slice(count - rest)), size)
            held, count = [batching.take(whole, slice(count - rest, None))], rest
    if count:
        yield from batching.split(_mixed(held, rng), size)


def _mixed(held: list[Any], rng: "Generator") -> Any:
    whole = batching.join(held)
    return batching.take(
        whole, torch.from_numpy(rng.permutation(batching.count(whole)))
    )


def endless(
    tasks: Tasks, task: str, split: str, size: int, *words: object
) -> Iterator[Any]:
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


def first(
    tasks: Tasks, task: str, split: str, examples: int, size: int, *words: object
) -> Iterator[Any]:
    """At most `examples` inputs of one epoch, in batches of `size`."""
    for inputs in shuffled(tasks, task, split, size, *words):
        yield batching.take(inputs, slice(examples))
        examples -= batching.count(inputs)
        if examples <= 0:
            return
