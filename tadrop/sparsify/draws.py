"""Whole numbers that belong to entries: SplitMix64 (Steele, Lea, Flood 2014) by index.

They are addressed by (seed words, flat index), so that any piece of a vector can be
drawn alone, on any device and in any order, with the same bits.
"""

import torch
from torch import Tensor

from tadrop.numerics.seeds import key
from tadrop.types import GOLDEN

_MIX1, _MIX2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
LOWEST = -(2**63)


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
