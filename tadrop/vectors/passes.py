"""Pieces of tensors that fit a processor's cache, and the threads that take them.

Pieces are cut the same way whatever the number of threads, and results come back in
order, so sums over pieces have the same bits on every machine. torch and the compiled
kernels let go of the interpreter while they compute; each thread runs its operators
alone, because a piece is too small to be worth sharing.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from math import prod
from typing import TypeVar

import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.threads import in_order
from tadrop.protocols.streams import Stream
from tadrop.types import Taus, Vector

Result = TypeVar("Result")

# Entries of all tasks together in one piece, 4 MB: less is all interpreter, more leaves
# the cache.
PIECE = 1 << 20
# The same on an accelerator, where a small piece is all launch overhead.
DEVICE_PIECE = 1 << 25
# Entries of all tasks together that a thread takes at a time.
SPAN = 1 << 23
# Pieces start at multiples of this, so that masks of a byte per eight entries never
# straddle two.
ALIGN = 64

# The first entry of a piece and the one after its last; (0, None) is a whole tensor.
Range = tuple[int, int | None]


def ranges(stream: Stream, name: str, scope: str) -> Iterator[Range]:
    """The ranges of entries in which a method of this scope is shown a tensor."""
    if scope != "entry":
        yield 0, None
        return
    size = prod(stream.shapes[name])
    most = PIECE if stream.device.type == "cpu" else DEVICE_PIECE
    step = max(most // len(stream.tasks) // ALIGN * ALIGN, ALIGN)
    for start in range(0, max(size, 1), step):
        yield start, min(start + step, size)


def _spans(stream: Stream, scope: str) -> Iterator[tuple[str, list[Range]]]:
    """Runs of pieces of one tensor, long enough to be worth handing to a thread."""
    for name in stream.names:
        size = prod(stream.shapes[name])
        span: list[Range] = []
        entries = 0
        for start, stop in ranges(stream, name, scope):
            span.append((start, stop))
            entries += (size if stop is None else stop) - start
            if entries * len(stream.tasks) >= SPAN:
                yield name, span
                span = []
                entries = 0
        if span:
            yield name, span


def over_pieces(
    stream: Stream,
    function: Callable[[str, int, Taus], Result],
    scope: str = "entry",
) -> Iterator[tuple[str, list[Result]]]:
    """function(name, first flat index, taus) for every piece: runs of results.

    They come in the order of names and entries. Pieces of an entry-scope method are
    shared out among threads; whole tensors come one at a time.
    """

    def work(job: tuple[str, list[Range]]) -> tuple[str, list[Result]]:
        name, span = job
        results: list[Result] = []
        for start, stop in span:
            taus = stream.taus(name, start, stop)
            results.append(function(name, start, taus))
        return name, results

    shared = scope == "entry" and stream.device.type == "cpu"
    threads = torch.get_num_threads() if shared else 1
    return in_order(work, _spans(stream, scope), threads)


def entries(
    stream: Stream,
    function: Callable[[Taus], Tensor],
) -> Iterator[Tensor]:
    """function of every entry of the model once, shown [task, n] at a time, in order.

    The pieces are those that an entry-scope method is shown, on all threads.
    """

    def jobs() -> Iterator[tuple[str, Range]]:
        for name in stream.names:
            if prod(stream.shapes[name]):
                for piece in ranges(stream, name, "entry"):
                    yield name, piece

    def work(job: tuple[str, Range]) -> Tensor:
        name, (start, stop) = job
        taus = stream.taus(name, start, stop)
        return function(taus.reshape(len(stream.tasks), -1))

    threads = torch.get_num_threads() if stream.device.type == "cpu" else 1
    return in_order(work, jobs(), threads)


def add_up(stream: Stream, function: Callable[[Taus], Tensor]) -> Tensor:
    """The sum of function(taus) over all pieces of a stream, in one pass.

    function sees flat or whole tensors with the task axis first and returns a tensor of
    fixed shape, to be summed over entries; integers and float64 add without loss.
    """
    total: Tensor | None = None
    summands = over_pieces(stream, lambda name, start, taus: function(taus))
    for _, results in summands:
        for result in results:
            total = result if total is None else total + result
    assert total is not None, "a stream has at least one tensor"
    return total


def density(stream: Stream) -> float:
    """The fraction of entries of all task vectors that are not zero."""
    sizes = {name: prod(stream.shapes[name]) for name in stream.names}

    def count(name: str, start: int, taus: Taus) -> int:
        return count_nonzero(taus, sizes[name])

    nonzero = 0
    for _, counts in over_pieces(stream, count):
        nonzero += sum(counts)
    return nonzero / (len(stream.tasks) * sum(sizes.values()))


def count_nonzero(taus: Taus, size: int) -> int:
    """How many entries of a piece are not zero. size: of the whole tensor."""
    if compiled.serves(size, taus):
        from tadrop.numerics.kernels import entries as kernels

        rows = compiled.bits(taus.view(len(taus), -1))
        return int(kernels.count_nonzero(rows))
    return int(torch.count_nonzero(taus))


def fingerprint(vectors: Iterable[Vector]) -> str:
    """A hash of every bit of some vectors, one after another; 16 hex digits."""
    digest = sha256()
    for vector in vectors:
        for piece in vector.pieces():
            digest.update(piece.contiguous().cpu().numpy().data)
    return digest.hexdigest()[:16]
