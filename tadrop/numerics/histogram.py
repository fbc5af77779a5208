"""Counts over the magnitudes of one vector: by upper bits, by lower bits inside a few
bins, and those bins' entries.

The bits of a non-negative float32 sort like the number itself, so its upper 15 bits are
a bin that knows its place. Every function reads the pieces of a vector once. Large
tensors take the compiled kernels, all others plain torch; the results are whole numbers
and the same either way, and do not depend on the pieces or on the threads that counted
them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.threads import in_order

LOW_BITS = 16
LOWS = 1 << LOW_BITS
BINS = 1 << (31 - LOW_BITS)
SHARED = 1 << 23  # entries of a piece from which threads share it

Result = TypeVar("Result")
Placed = tuple[int, Tensor]  # a piece and its first flat index


def _bits(piece: Tensor) -> Tensor:
    return piece.abs().view(torch.int32)


def _placed(pieces: Iterable[Tensor]) -> Iterator[Placed]:
    start = 0
    for piece in pieces:
        yield start, piece
        start += len(piece)


def _spread(
    pieces: Iterable[Tensor], work: Callable[[Iterable[Placed]], Result]
) -> list[Result]:
    """work(pieces), or its results for each thread's share, where the pieces are of a
    tensor in memory.
    """
    pieces = iter(pieces)
    first = next(pieces)
    if len(first) < SHARED or first.device.type != "cpu":
        return [work(_placed(chain([first], pieces)))]
    threads = torch.get_num_threads()
    shares: list[list[Placed]] = [[] for _ in range(threads)]
    for start, piece in _placed(chain([first], pieces)):
        parts = piece.tensor_split(threads)
        ends = accumulate(len(part) for part in parts)
        for share, part, end in zip(shares, parts, ends, strict=True):
            share.append((start + end - len(part), part))
    return list(in_order(work, shares, threads))


def _sum(tables: list[np.ndarray]) -> np.ndarray:
    return tables[0] if len(tables) == 1 else sum(tables)


def by_upper_bits(pieces: Iterable[Tensor], size: int) -> np.ndarray:
    """[2, BINS] by upper bits: counts, and sums of the lower bits. size: of the whole
    vector.
    """

    def count(pieces: Iterable[Placed]) -> np.ndarray:
        table = np.zeros((2, BINS), dtype=np.int64)
        for _, piece in pieces:
            if compiled.serves(size, piece):
                from tadrop.numerics import kernels

                kernels.count_upper(compiled.bits(piece), table)
            else:
                _add_upper_bits(piece, table)
        return table

    return _sum(_spread(pieces, count))


def _add_upper_bits(piece: Tensor, table: np.ndarray) -> None:
    for bits in _bits(piece).split(
        1 << 20
    ):  # so few that float64 adds their whole numbers exactly
        upper, low = bits >> LOW_BITS, (bits & (LOWS - 1)).double()
        table[0] += torch.bincount(upper, minlength=BINS).cpu().numpy()
        table[1] += (
            torch.bincount(upper, low, minlength=BINS).cpu().numpy().astype(np.int64)
        )


def lower_squares(pieces: Iterable[Tensor], size: int) -> np.ndarray:
    """[BINS] by upper bits: the sums of the squares of the lower bits."""

    def count(pieces: Iterable[Placed]) -> np.ndarray:
        table = np.zeros(BINS, dtype=np.int64)
        for _, piece in pieces:
            if compiled.serves(size, piece):
                from tadrop.numerics import kernels

                kernels.sum_squares(compiled.bits(piece), table)
                continue
            for bits in _bits(piece).split(1 << 20):
                upper, low = bits >> LOW_BITS, (bits & (LOWS - 1)).double()
                table += (
                    torch.bincount(upper, low.square(), minlength=BINS)
                    .cpu()
                    .numpy()
                    .astype(np.int64)
                )
        return table

    return _sum(_spread(pieces, count))


def by_lower_bits(
    pieces: Iterable[Tensor], size: int, bins: Sequence[int]
) -> np.ndarray:
    """[len(bins), LOWS]: how many entries with these upper bits have which lower bits."""
    slots = np.full(BINS, -1, dtype=np.int32)
    slots[bins] = np.arange(len(bins))

    def count(pieces: Iterable[Placed]) -> np.ndarray:
        fine = np.zeros((len(bins), LOWS), dtype=np.int64)
        for _, piece in pieces:
            if compiled.serves(size, piece):
                from tadrop.numerics import kernels

                kernels.count_lower(compiled.bits(piece), slots, fine)
                continue
            bits = _bits(piece)
            upper = bits >> LOW_BITS
            for row, b in enumerate(bins):
                lower = bits[upper == b] & (LOWS - 1)
                fine[row] += torch.bincount(lower, minlength=LOWS).cpu().numpy()
        return fine

    return _sum(_spread(pieces, count))


def _runs(bins: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring bins as (first, how many)."""
    runs: list[tuple[int, int]] = []
    for b in bins:
        if runs and sum(runs[-1]) == b:
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((b, 1))
    return runs


def gather(
    pieces: Iterable[Tensor], size: int, bins: Sequence[int], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The bits of the magnitudes with these upper bits (ascending; `count` entries),
    and their flat indices.
    """
    lows, widths = (
        np.array(runs, dtype=np.uint32) << LOW_BITS
        for runs in zip(*_runs(bins), strict=True)
    )

    def collect(pieces: Iterable[Placed]) -> tuple[np.ndarray, np.ndarray]:
        values, places, found = (
            np.empty(count, dtype=np.uint32),
            np.empty(count, dtype=np.int64),
            0,
        )
        for start, piece in pieces:
            if compiled.serves(size, piece):
                from tadrop.numerics import kernels

                found = kernels.gather(
                    compiled.bits(piece), start, lows, widths, values, places, found
                )
                continue
            bits = _bits(piece)
            upper = bits >> LOW_BITS
            (at,) = torch.nonzero(
                torch.isin(upper, torch.tensor(bins, device=upper.device)),
                as_tuple=True,
            )
            end = found + len(at)
            values[found:end], places[found:end] = (
                bits[at].cpu().numpy(),
                at.cpu().numpy() + start,
            )
            found = end
        return values[:found], places[:found]

    shares = _spread(pieces, collect)
    return (
        shares[0]
        if len(shares) == 1
        else tuple(np.concatenate(parts) for parts in zip(*shares, strict=True))
    )


def nth_equal(pieces: Iterable[Tensor], size: int, bits: int, nth: int) -> int:
    """The flat index of the nth entry (from 1) whose magnitude has these bits;
    LookupError if there are fewer.
    """
    for start, piece in _placed(pieces):
        if compiled.serves(size, piece):
            from tadrop.numerics import kernels

            at = kernels.nth_equal(compiled.bits(piece), np.uint32(bits), nth)
            if at >= 0:
                return start + at
            nth += at + 1
            continue
        (equal,) = torch.nonzero(_bits(piece) == bits, as_tuple=True)
        if len(equal) >= nth:
            return start + int(equal[nth - 1])
        nth -= len(equal)
    raise LookupError(f"{nth} entries fewer have the bits {bits:#x} than were counted")
