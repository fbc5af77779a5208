"""Exact order statistics and norms of magnitudes, for vectors of any size.

torch.quantile refuses more than 2**24 entries and sorting costs a copy. Here two passes
over pieces of any length suffice, with bounded memory (counted.py). A vector smaller
than the histogram is sorted instead. Order statistics of signed values are found
likewise.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics import compiled, histogram
from tadrop.numerics.counted import Counted
from tadrop.numerics.histogram import LOW_BITS
from tadrop.numerics.spectrum import Sorted, Spectrum
from tadrop.types import TadropError, Vector

_INFINITY_BIN = 0x7F80  # upper bits of infinity and NaN
# Entries up to which sorting is cheaper than counting.
SMALL = 1 << 15
# Entries up to which a vector is held for the second pass: 16 MB.
HELD = 1 << 22

# Bins of one pass over signed values: by 16 upper bits, then by 16 lower bits.
_WIDTH = 1 << LOW_BITS


def spectrum(vector: Vector) -> Spectrum:
    """The magnitudes of a vector. Raises TadropError if an entry is NaN or infinite."""
    if vector.size <= SMALL:
        magnitudes = Sorted(_in_memory(vector))
        finite = np.isfinite(magnitudes.values)
        _refuse(vector, int(np.count_nonzero(~finite)))
        return magnitudes
    pieces = vector.pieces
    if vector.size <= HELD:
        held = list(vector.pieces())

        def pieces() -> Iterator[Tensor]:
            return iter(held)

    table = histogram.by_upper_bits(pieces(), vector.size)
    _refuse(vector, int(table[0, _INFINITY_BIN:].sum()))
    return Counted(vector.size, pieces, table)


def _in_memory(vector: Vector) -> np.ndarray:
    """The magnitudes of a small vector, float64."""
    parts: list[np.ndarray] = [np.empty(0)]
    for piece in vector.pieces():
        parts.append(piece.abs().double().cpu().numpy())
    return np.concatenate(parts)


def _refuse(vector: Vector, bad: int) -> None:
    if bad:
        raise TadropError(
            f"task vector {vector.task!r}, {vector.name!r}: "
            f"{bad} entries are NaN or infinite"
        )


def order_statistics(
    pieces: Callable[[], Iterator[Tensor]],
    ranks: list[int],
) -> Tensor:
    """The entries of the given 0-based ascending ranks of every row.

    [T, len(ranks)] float32. pieces() gives the rows piece by piece, [T, n] float32; it
    is called twice and must give the same bits. Constant memory: two histograms of
    2**16 bins a row. Raises ValueError for a rank that is not there.
    """
    coarse = _upper_counts(pieces()).cumsum(1)
    size = int(coarse[0, -1])
    if any(not 0 <= rank < size for rank in ranks):
        raise ValueError(f"ranks {ranks} of vectors with {size} entries")
    wanted = torch.tensor(ranks).expand(len(coarse), -1).contiguous()
    bins = torch.searchsorted(coarse, wanted, right=True)
    previous = coarse.gather(1, (bins - 1).clamp(min=0))
    before = torch.where(bins > 0, previous, 0)
    fine = _lower_counts(pieces(), bins).cumsum(-1)
    within = (wanted - before).unsqueeze(-1)
    low = torch.searchsorted(fine, within, right=True).squeeze(-1)
    keys = (((bins - _WIDTH // 2) << LOW_BITS) | low).to(torch.int32)
    return (keys ^ ((keys >> 31) & 0x7FFFFFFF)).view(torch.float32)


def _keys(values: Tensor) -> Tensor:
    """int32 that sort like the float32 values themselves, negative ones included.

    -0 counts as 0.
    """
    bits = (values.float() + 0.0).view(torch.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _upper(keys: Tensor) -> Tensor:
    """The bins of keys by their upper bits, from 0."""
    return (keys >> LOW_BITS) + _WIDTH // 2


def _upper_counts(pieces: Iterator[Tensor]) -> Tensor:
    """How many entries of each row have which upper bits, [T, 2**16]."""
    counts: Tensor | None = None
    for rows in pieces:
        if counts is None:
            counts = torch.zeros(len(rows), _WIDTH, dtype=torch.int64)
        if compiled.serves(rows.numel(), rows):
            from tadrop.numerics.kernels import signed as kernels

            for row, count in zip(rows, counts, strict=True):
                kernels.count_upper(compiled.bits(row), count.numpy())
        else:
            counts += _counted(rows)
    assert counts is not None, "there is at least one piece"
    return counts


def _counted(rows: Tensor) -> Tensor:
    """_upper_counts() of one piece."""
    number = len(rows)
    index = torch.arange(number, device=rows.device)
    bins = _upper(_keys(rows)) + index.unsqueeze(1) * _WIDTH
    counts = torch.bincount(bins.reshape(-1), minlength=number * _WIDTH)
    return counts.cpu().view(number, _WIDTH)


def _lower_counts(pieces: Iterator[Tensor], bins: Tensor) -> Tensor:
    """How many entries of each row and wanted bin have which lower bits.

    bins: [T, ranks]; the result is [T, ranks, 2**16]
    """
    fine = torch.zeros(*bins.shape, _WIDTH, dtype=torch.int64)
    for rows in pieces:
        if compiled.serves(rows.numel(), rows):
            from tadrop.numerics.kernels import signed as kernels

            for row, uppers, counts in zip(rows, bins, fine, strict=True):
                bits = compiled.bits(row)
                kernels.count_lower(bits, uppers.numpy(), counts.numpy())
            continue
        for row, keys in enumerate(_keys(rows)):
            upper = _upper(keys)
            for index, wanted in enumerate(bins[row].tolist()):
                lower = keys[upper == wanted] & (_WIDTH - 1)
                fine[row, index] += torch.bincount(lower, minlength=_WIDTH).cpu()
    return fine
