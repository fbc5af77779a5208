"""Compiled loops for what torch has no single operator for; each has its reference in plain torch beside its caller.

Same results to the bit: the loops do what the reference does, in one pass and without temporaries. They are compiled
when this module is first imported and kept in numba's cache; importing it costs a second even then, so callers come
here only for tensors of at least `compiled.FROM` entries.
"""

import numpy as np
from numba import float32, int32, int64, njit, uint32, uint64, void

Bits, Floats = uint32[::1], float32[::1]

MAGNITUDE = np.uint32(0x7FFFFFFF)
LOW = np.uint32(0xFFFF)
LOW_BITS = np.uint32(16)
EXPONENT = np.uint32(0x7F800000)


@njit(void(Bits, int64[:, ::1]), nogil=True, cache=True)
def count_upper(bits, table):
    """table[upper 15 bits of |x|] += 1, lower 16 bits, their square."""
    for i in range(bits.size):
        u = bits[i] & MAGNITUDE
        upper = u >> LOW_BITS
        low = np.int64(u & LOW)
        table[upper, 0] += 1
        table[upper, 1] += low
        table[upper, 2] += low * low


@njit(void(Bits, int32[::1], int64[:, ::1]), nogil=True, cache=True)
def count_lower(bits, slots, fine):
    """fine[slot of the upper bits, lower bits] += 1, for the upper bits that have a slot."""
    for i in range(bits.size):
        u = bits[i] & MAGNITUDE
        slot = slots[u >> LOW_BITS]
        if slot >= 0:
            fine[slot, u & LOW] += 1


@njit(int64(Bits, uint32), nogil=True, cache=True)
def count_equal(bits, value):
    """How many magnitudes have exactly these bits."""
    count = 0
    for i in range(bits.size):
        count += (bits[i] & MAGNITUDE) == value
    return count


@njit(int64(Floats, Floats, Floats), nogil=True, cache=True)
def subtract(theta, theta0, tau):
    """tau = theta - theta0; returns how many entries are NaN or infinite."""
    bad = np.uint32(0)
    for i in range(tau.size):
        tau[i] = theta[i] - theta0[i]
    bits = tau.view(np.uint32)
    for i in range(bits.size):
        bad += np.uint32((bits[i] & EXPONENT) == EXPONENT)
    return bad


@njit(int64(uint32[:, ::1]), nogil=True, cache=True)
def count_nonzero(bits):
    """How many floats, given by their bits, are neither 0 nor -0."""
    count = 0
    for row in range(bits.shape[0]):
        some = np.uint32(0)
        for i in range(bits.shape[1]):
            some += np.uint32((bits[row, i] & MAGNITUDE) != 0)
        count += some
    return count


@njit(void(Floats, float32, int64, float32, Floats), nogil=True, cache=True)
def cut_top(tau, threshold, ties, scale, out):
    """out = scale * tau where |tau| > threshold, or equal to it among the first `ties` entries; else 0."""
    zero = np.float32(0)
    for i in range(ties):
        x = tau[i]
        out[i] = x * scale if abs(x) >= threshold else zero
    for i in range(ties, tau.size):
        x = tau[i]
        out[i] = x * scale if abs(x) > threshold else zero


@njit(void(Floats, uint64, int64, uint64, float32, Floats), nogil=True, cache=True)
def cut_random(tau, key, start, limit, scale, out):
    """out = scale * tau where the 32-bit draw of (key, index) is below the limit; else 0."""
    zero = np.float32(0)
    one = np.int64(1)
    i = np.int64(0)
    while i < tau.size:
        index = start + i
        z = key + np.uint64(index >> one) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        if index & one == 0:
            out[i] = tau[i] * scale if (z & np.uint64(0xFFFFFFFF)) < limit else zero
            i += one
        if i < tau.size:
            out[i] = tau[i] * scale if (z >> np.uint64(32)) < limit else zero
            i += one
