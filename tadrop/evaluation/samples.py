"""Inputs of a task for methods that look at data, shuffled and put into batches.

Words decide the order; memory does not grow with the split.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tadrop.modules import batches as batching
from tadrop.numerics.seeds import generator
from tadrop.protocols.tasks import Tasks
from tadrop.types import TadropError

# Inputs held for shuffling: a split of at most so many is shuffled as a whole.
WINDOW = 4096


def shuffled(
    tasks: Tasks, task: str, split: str, size: int, *words: object
) -> Iterator[Any]:
    """One epoch in batches of `size` inputs without targets; the last may be short."""
    rng = generator("samples", task, split, *words)
    held, count = [], 0
    for inputs, _ in tasks.batches(task, split):
        if not isinstance(inputs, Tensor):
            raise TadropError(
                f"task {task!r} shows its model more than one tensor: "
                "no row that looks at data takes it"
            )
        held.append(inputs)
        count += batching.count(inputs)
        if count >= WINDOW:
            mixed = _mixed(held, rng)
            full = count - count % size
            yield from batching.split(batching.take(mixed, slice(full)), size)
            held, count = [batching.take(mixed, slice(full, None))], count - full
    if count:
        yield from batching.split(_mixed(held, rng), size)


def _mixed(held: list[Any], rng: np.random.Generator) -> Any:
    """One batch of all examples of these, in random order."""
    joined = batching.join(held)
    order = rng.permutation(batching.count(joined))
    return batching.take(joined, torch.from_numpy(order))


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
