"""Blocks of tensors that fit a processor's cache, and the threads that go through them.

Blocks are cut the same way whatever the number of threads, and results come back in
order, so sums over blocks have the same bits on every machine. torch and the compiled
kernels let go of the interpreter while they compute; each thread runs its operators
alone, because a block is too small to be worth sharing.
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import TypeVar

import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.threads import in_order
from tadrop.protocols import Stream
from tadrop.types import Taus

Result = TypeVar("Result")

# Entries of all tasks together in one block, 4 MB: less is all interpreter, more leaves
# the cache.
BLOCK = 1 << 20
DEVICE_BLOCK = (
    1 << 25
)  # the same on an accelerator, where a small block is all launch overhead
SPAN = 1 << 23  # entries of all tasks together that a thread takes at a time
# blocks start at multiples of this, so that masks of a byte per eight entries never
# straddle two
ALIGN = 64


def device_of(stream: Stream) -> torch.device:
    """Where a stream's tensors live; the CPU unless it says otherwise."""
    return getattr(stream, "device", torch.device("cpu"))


def blocks(stream: Stream, name: str, scope: str) -> Iterator[tuple[int, int | None]]:
    """The (start, stop) in which a method of this scope is shown a tensor: flat runs,
    or (0, None) for the whole.
    """
    size = prod(stream.shapes[name])
    most = BLOCK if device_of(stream).type == "cpu" else DEVICE_BLOCK
    step = max(most // len(stream.tasks) // ALIGN * ALIGN, ALIGN)
    if scope != "entry":
        yield 0, None
        return
    for start in range(0, max(size, 1), step):
        yield start, min(start + step, size)


def _spans(
    stream: Stream, scope: str
) -> Iterator[tuple[str, list[tuple[int, int | None]]]]:
    """Runs of blocks of one tensor, long enough to be worth handing to a thread."""
    for name in stream.names:
        span, entries = [], 0
        for start, stop in blocks(stream, name, scope):
            span.append((start, stop))
            entries += len(stream.tasks) * (
                (prod(stream.shapes[name]) if stop is None else stop) - start
            )
            if entries >= SPAN:
                yield name, span
                span, entries = [], 0
        if span:
            yield name, span


def over_blocks(
    stream: Stream, function: Callable[[str, int, Taus], Result], scope: str = "entry"
) -> Iterator[tuple[str, list[Result]]]:
    """function(name, first flat index, taus) for every block: runs of results, in the
    order of names and entries.

    Blocks of an entry-scope method are shared out among threads; whole tensors come one
    at a time.
    """

    def work(job: tuple[str, list[tuple[int, int | None]]]) -> tuple[str, list[Result]]:
        name, span = job
        return name, [
            function(name, start, stream.taus(name, start, stop))
            for start, stop in span
        ]

    threads = (
        1
        if scope != "entry" or device_of(stream).type != "cpu"
        else torch.get_num_threads()
    )
    return in_order(work, _spans(stream, scope), threads)


def entries(stream: Stream) -> Iterator[Taus]:
    """Every entry of the model once, [task, n] at a time, in the blocks that an
    entry-scope method is shown.
    """
    for name in stream.names:
        for start, stop in (
            blocks(stream, name, "entry") if prod(stream.shapes[name]) else ()
        ):
            yield stream.taus(name, start, stop).reshape(len(stream.tasks), -1)


def add_up(stream: Stream, function: Callable[[Taus], Tensor]) -> Tensor:
    """The sum of function(taus) over all blocks of a stream: a statistic of the whole
    model in one pass.

    function sees flat or whole tensors with the task axis first and returns a tensor of
    fixed shape, to be summed over entries; integers and float64 add without loss.
    """
    total = None
    for _, results in over_blocks(stream, lambda name, start, taus: function(taus)):
        for result in results:
            total = result if total is None else total + result
    return total


def density(stream: Stream) -> float:
    """The fraction of entries of all task vectors that are not zero."""
    sizes = {name: prod(stream.shapes[name]) for name in stream.names}
    counts = over_blocks(
        stream, lambda name, start, taus: count_nonzero(taus, sizes[name])
    )
    return sum(sum(some) for _, some in counts) / (
        len(stream.tasks) * sum(sizes.values())
    )


def count_nonzero(taus: Taus, size: int) -> int:
    """How many entries of a piece of a tensor of so many entries are not zero."""
    if compiled.serves(size, taus):
        from tadrop.numerics import kernels

        return kernels.count_nonzero(compiled.bits(taus.view(len(taus), -1)))
    return int(torch.count_nonzero(taus))
