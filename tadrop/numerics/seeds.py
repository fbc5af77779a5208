"""Randomness seeded by words: (seed, task, tensor name),
never by the order of calls.
"""

import hashlib

import numpy as np


def _digest(words: tuple[object, ...]) -> bytes:
    text = "\0".join(map(str, words))
    return hashlib.sha256(text.encode()).digest()


def generator(*words: object, offset: int = 0) -> np.random.Generator:
    """A PCG64 generator for these words, `offset` 64-bit draws into its stream."""
    bits = np.random.PCG64(int.from_bytes(_digest(words)[:16], "little"))
    if offset:
        bits = bits.advance(offset)
    return np.random.Generator(bits)


def key(*words: object) -> int:
    """64 bits for these words: the key of a generator that is addressed by index."""
    return int.from_bytes(_digest(words)[:8], "little")
