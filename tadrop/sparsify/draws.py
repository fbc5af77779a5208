"""Whole numbers that belong to entries: SplitMix64 (Steele, Lea, Flood 2014) by index.

They are addressed by (seed words, flat index), so that any piece of a vector can be
drawn alone, on any device and in any order, with the same bits.
"""

from collections.abc import Callable, Iterable
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics.seeds import key
from tadrop.types import GOLDEN

_MIX1, _MIX2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
LOWEST = -(2**63)
ROW_EQUALS = ("drawn", "index")  # what decides among equal magnitudes of a matrix row
SORTED = 1 << 18  # words that are sorted at once: 2 MB


def words(key: int, index: Tensor) -> Tensor:
    """The 64-bit word of each index in the sequence of a key, int64.

    Different indices have different words.
    """
    z = index * _signed(GOLDEN) + _signed(key)
    for shift, factor in ((30, _signed(_MIX1)), (27, _signed(_MIX2)), (31, 1)):
        # int64 wraps like uint64; the mask makes the shift a logical one.
        shifted = (z >> shift) & ((1 << (64 - shift)) - 1)
        z = (z ^ shifted) * factor
    return z


def ranks(key: int, index: Tensor) -> Tensor:
    """The words, less 2**63, so that they sort as whole numbers without a sign."""
    return words(key, index) ^ LOWEST


def ranks_of_rows(key: int, rows: Tensor, row: int, start: int) -> Tensor:
    """The ranks of the entries of some matrix rows, [matrix row, row].

    rows: which of them, [matrix row] int64; row: entries of each
    start: the flat index of the first entry of row 0
    """
    columns = torch.arange(row, device=rows.device)
    return ranks(key, start + rows.unsqueeze(1) * row + columns)


def nth_word(
    key: int,
    places: Callable[[], Iterable[np.ndarray]],
    count: int,
    nth: int,
) -> int:
    """The nth word (from 1) in ascending order, of those of `count` indices.

    places: the indices, part by part, each time it is called
    Words are evenly spread, so that where there are many the nth is looked for near
    nth / count of their range, and few are held at a time.
    """
    width = 1.0 if count <= SORTED else 4 / sqrt(count)  # 8 standard deviations
    while True:
        low, high = _range(nth / count, width)
        below, near = _words_in(key, places(), low, high)
        if below < nth <= below + len(near):
            return int(near.kthvalue(nth - below).values) - LOWEST
        width *= 4


def _range(share: float, width: float) -> tuple[int, int]:
    """The ranks within a width of this share of all of them, first and last."""
    low = max(int((share - width) * 2.0**64), 0)
    high = min(int((share + width) * 2.0**64), 2**64 - 1)
    return low + LOWEST, high + LOWEST


def _words_in(
    key: int,
    places: Iterable[np.ndarray],
    low: int,
    high: int,
) -> tuple[int, Tensor]:
    """How many ranks of these indices are below low, and those from low to high."""
    below = 0
    near = [torch.empty(0, dtype=torch.int64)]
    for part in places:
        drawn = ranks(key, torch.from_numpy(part))
        below += int((drawn < low).sum())
        near.append(drawn[(drawn >= low) & (drawn <= high)])
    return below, torch.cat(near)


def draws(
    seed: tuple[object, ...],
    start: int,
    size: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Uniform whole numbers in [0, 2**32), int64, for entries `start` on.

    They belong to the sequence of the seed's words. Entries come in pairs from one
    word; even entries take the lower half, odd the upper.
    """
    first = start // 2
    index = torch.arange(first, (start + size + 1) // 2, device=device)
    z = words(key(*seed), index)
    halves = torch.stack((z & 0xFFFFFFFF, (z >> 32) & 0xFFFFFFFF), dim=1).reshape(-1)
    return halves[start - 2 * first :][:size]


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word
