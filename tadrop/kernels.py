"""Compiled loops for what torch has no single operator for; each has its reference in plain torch beside its caller.

Same results to the bit: the loops do what the reference does, in one pass and without temporaries. They are compiled
when this module is first imported and kept in numba's cache; importing it costs a second even then, so callers come
here only for tensors of at least `compiled.FROM` entries.
"""

import numpy as np
from numba import carray, float32, int32, int64, njit, types, uint32, uint64, void
from numba.extending import intrinsic

Bits, Floats, Rows = uint32[::1], float32[::1], float32[:, ::1]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
TILE = 2048  # entries of a row that stay in the innermost cache while all tasks go over them

MAGNITUDE = np.uint32(0x7FFFFFFF)
LOW = np.uint32(0xFFFF)
LOW_BITS = np.uint32(16)


@njit(void(Bits, uint64[:, ::1]), nogil=True, cache=True)
def count_upper(bits, lanes):
    """lanes[0 or 1, upper 15 bits of |x|] += 1 << 40 | lower 16 bits: a count and a sum in one word.

    Two lanes, because a processor waits for a sum that it has just stored. Holds 2**24 entries at most.
    """
    one, half = np.uint64(1 << 40), bits.size // 2
    first, second = lanes[0], lanes[1]
    for i in range(half):
        u, v = bits[2 * i] & MAGNITUDE, bits[2 * i + 1] & MAGNITUDE
        first[u >> LOW_BITS] += one + np.uint64(u & LOW)
        second[v >> LOW_BITS] += one + np.uint64(v & LOW)
    for i in range(2 * half, bits.size):
        u = bits[i] & MAGNITUDE
        first[u >> LOW_BITS] += one + np.uint64(u & LOW)


@njit(void(Bits, int64[::1]), nogil=True, cache=True)
def sum_squares(bits, table):
    """table[upper 15 bits of |x|] += the square of the lower 16 bits."""
    for i in range(bits.size):
        u = bits[i] & MAGNITUDE
        low = np.int64(u & LOW)
        table[u >> LOW_BITS] += low * low


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


@intrinsic
def _pointer(context, address):
    """An address as a pointer to float32."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float32)(types.uint64), generate


@njit(int64(uint64[::1], uint64, int64, Rows), nogil=True, cache=True)
def load(thetas, theta0, start, taus):
    """taus[t] = theta_t - theta0 for a run of entries, given addresses; returns how many are NaN or infinite."""
    size, bad = taus.shape[1], 0
    base = carray(_pointer(theta0), (start + size,))[start:]
    for t in range(taus.shape[0]):
        theta, tau = carray(_pointer(thetas[t]), (start + size,))[start:], taus[t]
        for i in range(size):
            x = theta[i] - base[i]
            tau[i] = x
            bad += x - x != 0
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


@njit(void(Floats, float32, float32, Floats), nogil=True, cache=True)
def cut_above(tau, threshold, scale, out):
    """out = scale * tau where |tau| > threshold, else 0."""
    for i in range(tau.size):
        x = tau[i]
        out[i] = x * scale if abs(x) > threshold else np.float32(0)


@njit(void(Floats, float32, float32, Floats), nogil=True, cache=True)
def cut_from(tau, threshold, scale, out):
    """out = scale * tau where |tau| >= threshold, else 0."""
    for i in range(tau.size):
        x = tau[i]
        out[i] = x * scale if abs(x) >= threshold else np.float32(0)


@njit(uint64(uint64), inline="always")
def _mixed(z):
    """SplitMix64's finaliser."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(void(Floats, uint64, float32, uint32, Floats), nogil=True, cache=True)
def cut_random(tau, first, scale, limit, out):
    """out = scale * tau where the 32-bit draw of the entry is below the limit, else 0.

    Entries come in pairs from one 64-bit word, lower half first; first: the word's state for entry 0. Masking bits
    and not branching, because a coin cannot be predicted.
    """
    words = np.empty(TILE // 2, np.uint64)
    draws = words.view(np.uint32)
    for low in range(0, tau.size, TILE):
        some, kept = tau[low : low + TILE], out[low : low + TILE]
        state = first + np.uint64(low // 2) * GOLDEN
        for i in range((some.size + 1) // 2):
            words[i] = _mixed(state + np.uint64(i) * GOLDEN)
        for i in range(some.size):
            kept[i] = some[i] * scale
        bits = kept.view(np.uint32)
        for i in range(some.size):
            bits[i] = bits[i] if draws[i] < limit else np.uint32(0)


@njit(void(Rows, int64, Floats), nogil=True, cache=True)
def add_tile(taus, low, out):
    """out = the sum over tasks, first to last, of the entries from low on."""
    size = out.size
    first = taus[0, low : low + size]
    for i in range(size):
        out[i] = first[i]
    for t in range(1, taus.shape[0]):
        tau = taus[t, low : low + size]
        for i in range(size):
            out[i] += tau[i]


@njit(void(Rows, Floats), nogil=True, cache=True)
def add_rows(taus, out):
    """The sum over tasks, first to last."""
    for low in range(0, out.size, TILE):
        add_tile(taus, low, out[low : low + TILE])
