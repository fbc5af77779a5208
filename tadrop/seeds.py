"""Randomness seeded by words: (seed, task, tensor name), never by the order of calls."""

import hashlib

import numpy as np


def generator(*words: object, offset: int = 0) -> np.random.Generator:
    """A PCG64 generator for these words, `offset` 64-bit draws into its stream."""
    digest = hashlib.sha256("\0".join(map(str, words)).encode()).digest()
    bits = np.random.PCG64(int.from_bytes(digest[:16], "little"))
    return np.random.Generator(bits.advance(offset) if offset else bits)
