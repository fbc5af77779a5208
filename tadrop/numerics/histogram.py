"""Counts over the magnitudes of one vector.

They are counted by upper bits, by lower bits inside a few bins, and those bins' entries
can be taken out. The bits of a non-negative float32 sort like the number itself, so its
upper 15 bits are a bin that knows its place. Every function reads the pieces of a
vector once. Large tensors take the compiled kernels, all others plain torch; the
results are whole numbers and the same either way, and do not depend on the pieces or on
the threads that counted them.
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
EXACT = 1 << 20  # entries so few that float64 adds their lower bits exactly

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
    pieces: Iterable[Tensor],
    work: Callable[[Iterable[Placed]], Result],
) -> list[Result]:
    """work(pieces), or its results for each thread's share of them.

    Pieces are shared where they are large, as those of a tensor in memory are.
    """
    pieces = iter(pieces)
    first = next(pieces)
    placed = _placed(chain([first], pieces))
    if len(first) < SHARED or first.device.type != "cpu":
        return [work(placed)]
    threads = torch.get_num_threads()
    shares: list[list[Placed]] = [[] for _ in range(threads)]
    for start, piece in placed:
        parts = piece.tensor_split(threads)
        ends = accumulate(map(len, parts))
        for share, part, end in zip(shares, parts, ends, strict=True):
            share.append((start + end - len(part), part))
    return list(in_order(work, shares, threads))


def _sum(tables: Sequence[np.ndarray]) -> np.ndarray:
    total = tables[0]
    for table in tables[1:]:
        total += table
    return total


def _count(bins: Tensor, weights: Tensor | None = None) -> np.ndarray:
    """How often each bin occurs, or the sums of its weights,
    which are whole numbers.
    """
    counts = torch.bincount(bins, weights, minlength=BINS)
    return counts.cpu().numpy().astype(np.int64, copy=False)


def by_upper_bits(pieces: Iterable[Tensor], size: int) -> np.ndarray:
    """[2, BINS] by upper bits: counts, and sums of the lower bits.

    size: of the whole vector, here and below
    """

    def count(pieces: Iterable[Placed]) -> np.ndarray:
        table = np.zeros((2, BINS), dtype=np.int64)
        for _, piece in pieces:
            if compiled.serves(size, piece):
                from tadrop.numerics.kernels import entries as kernels

                kernels.count_upper(compiled.bits(piece), table)
            else:
                _add_upper_bits(piece, table)
        return table

    return _sum(_spread(pieces, count))


def _add_upper_bits(piece: Tensor, table: np.ndarray) -> None:
    for bits in _bits(piece).split(EXACT):
        upper = bits >> LOW_BITS
        low = (bits & (LOWS - 1)).double()
        table[0] += _count(upper)
        table[1] += _count(upper, low)


def lower_squares(pieces: Iterable[Tensor], size: int) -> np.ndarray:
    """[BINS] by upper bits: the sums of the squares of the lower bits."""

    def count(pieces: Iterable[Placed]) -> np.ndarray:
        table = np.zeros(BINS, dtype=np.int64)
        for _, piece in pieces:
            if compiled.serves(size, piece):
                from tadrop.numerics.kernels import entries as kernels

                kernels.sum_squares(compiled.bits(piece), table)
            else:
                _add_lower_squares(piece, table)
        return table

    return _sum(_spread(pieces, count))


def _add_lower_squares(piece: Tensor, table: np.ndarray) -> None:
    for bits in _bits(piece).split(EXACT):
        low = (bits & (LOWS - 1)).double()
        table += _count(bits >> LOW_BITS, low.square())


def by_lower_bits(
    pieces: Iterable[Tensor],
    size: int,
    bins: Sequence[int],
) -> np.ndarray:
    """[len(bins), LOWS]: entries with these upper bits by their lower bits."""
    rows = np.full(BINS, -1, dtype=np.int32)
    rows[bins] = np.arange(len(bins))

    def count(pieces: Iterable[Placed]) -> np.ndarray:
        fine = np.zeros((len(bins), LOWS), dtype=np.int64)
        for _, piece in pieces:
            if compiled.serves(size, piece):
                from tadrop.numerics.kernels import entries as kernels

                kernels.count_lower(compiled.bits(piece), rows, fine)
            else:
                _add_lower_bits(piece, bins, fine)
        return fine

    return _sum(_spread(pieces, count))


def _add_lower_bits(piece: Tensor, bins: Sequence[int], fine: np.ndarray) -> None:
    bits = _bits(piece)
    upper = bits >> LOW_BITS
    for row, wanted in enumerate(bins):
        lower = bits[upper == wanted] & (LOWS - 1)
        fine[row] += torch.bincount(lower, minlength=LOWS).cpu().numpy()


def _runs(bins: Sequence[int]) -> tuple[list[int], list[int]]:
    """The first bins of runs of neighbours, and how many there are in each."""
    firsts: list[int] = []
    lengths: list[int] = []
    for index in bins:
        if firsts and firsts[-1] + lengths[-1] == index:
            lengths[-1] += 1
        else:
            firsts.append(index)
            lengths.append(1)
    return firsts, lengths


def gather(
    pieces: Iterable[Tensor],
    size: int,
    bins: Sequence[int],
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The bits of the magnitudes with these upper bits, and their flat indices.

    bins: ascending; count: the entries in all of them
    """
    firsts, lengths = _runs(bins)
    lows = np.array(firsts, dtype=np.uint32) << LOW_BITS
    widths = np.array(lengths, dtype=np.uint32) << LOW_BITS

    def collect(pieces: Iterable[Placed]) -> tuple[np.ndarray, np.ndarray]:
        values = np.empty(count, dtype=np.uint32)
        places = np.empty(count, dtype=np.int64)
        end = 0
        for start, piece in pieces:
            if compiled.serves(size, piece):
                from tadrop.numerics.kernels import entries as kernels

                end = kernels.gather(
                    compiled.bits(piece), start, lows, widths, values, places, end
                )
            else:
                end = _take_out(piece, start, bins, values, places, end)
        return values[:end], places[:end]

    shares = _spread(pieces, collect)
    if len(shares) == 1:
        return shares[0]
    values, places = zip(*shares, strict=True)
    return np.concatenate(values), np.concatenate(places)


def _take_out(
    piece: Tensor,
    start: int,
    bins: Sequence[int],
    values: np.ndarray,
    places: np.ndarray,
    end: int,
) -> int:
    """Appends at `end` what gather() wants of a piece; returns the new end."""
    bits = _bits(piece)
    upper = bits >> LOW_BITS
    is_wanted = torch.isin(upper, torch.tensor(bins, device=upper.device))
    (index,) = torch.nonzero(is_wanted, as_tuple=True)
    begin, end = end, end + len(index)
    values[begin:end] = bits[index].cpu().numpy()
    places[begin:end] = index.cpu().numpy() + start
    return end


def places(pieces: Iterable[Tensor], bits: int) -> Iterator[np.ndarray]:
    """The flat indices of the magnitudes with exactly these bits, part by part.

    No part is of more than EXACT entries.
    """
    for start, piece in _placed(pieces):
        for first, part in _placed(piece.split(EXACT)):
            (index,) = torch.nonzero(_bits(part) == bits, as_tuple=True)
            yield index.cpu().numpy() + (start + first)
