"""Compiled counts of signed floats by value, for their order statistics.

A float's bits, turned over if it is negative, sort like the float itself; -0 is 0.
"""

from typing import no_type_check

import numpy as np
from numba import int64, njit, uint32, void

from tadrop.numerics.kernels.entries import LOW, LOW_BITS, Bits

SIGN = np.uint32(1 << 31)


@njit(uint32(uint32), inline="always")
@no_type_check
def _key(bits):
    """A whole number without a sign that sorts like the float."""
    if bits == SIGN:
        return SIGN
    return ~bits if bits & SIGN else bits | SIGN


@njit(void(Bits, int64[::1]), nogil=True, cache=True)
@no_type_check
def count_upper(bits, counts):
    """counts[upper 16 bits of the key] += 1."""
    for i in range(bits.size):
        counts[_key(bits[i]) >> LOW_BITS] += 1


@njit(void(Bits, int64[::1], int64[:, ::1]), nogil=True, cache=True)
@no_type_check
def count_lower(bits, uppers, fine):
    """fine[place, lower 16 bits] += 1 at each place where uppers has the key's own."""
    for i in range(bits.size):
        key = _key(bits[i])
        for place in range(uppers.size):
            if key >> LOW_BITS == uppers[place]:
                fine[place, key & LOW] += 1
