"""Randomness seeded by words: (seed, task, tensor name), never by the order of calls."""

import hashlib

import numpy as np


def _digest(words: tuple[object, ...]) -> bytes:
    return hashlib.sha256("\0".join(map(str, words)).encode()).digest()


def generator(*words: object, offset: int = 0) -> np.random.Generator:
    """A PCG64 generator for these words, `offset` 64-bit draws into its stream."""
    bits = np.random.PCG64(int.from_bytes(_digest(words)[:16], "little"))
    return np.random.Generator(bits.advance(offset) if offset else bits)


def key(*words: object) -> int:
    """64 bits for these words: the key of a generator that is addressed by index."""
    return int.from_bytes(_digest(words)[:8], "little")
