"""Compiled loops for what torch has no single operator for.

Each has its reference in plain torch beside its caller, with the same results to the
bit: the loops do what the reference does, in one pass and without temporaries. They are
compiled when this module is first imported and kept in numba's cache; importing it
costs a second even then, so callers come here only for tensors of at least
`compiled.FROM` entries, and with smaller ones once it is there.

Numba's signatures are their types. `no_type_check` keeps the tests' own type checks,
which numba cannot compile, away from them.
"""

from typing import no_type_check

import numpy as np
from numba import (
    carray,  # pyright: ignore[reportPrivateImportUsage]  # numba documents it so
    float32,
    int32,
    int64,
    njit,
    types,
    uint32,
    uint64,
    void,
)
from numba.extending import intrinsic

Bits, Floats, Rows = uint32[::1], float32[::1], float32[:, ::1]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
ALL = np.uint64(2**64 - 1)  # the largest word
# Entries of a task that stay in the innermost cache while all tasks are gone over.
TILE = 2048

MAGNITUDE = np.uint32(0x7FFFFFFF)
LOW = np.uint32(0xFFFF)
LOW_BITS = np.uint32(16)
# A word that counts entries and adds up their lower bits: where the count begins, and
# the mask of the sum. There is room for so many entries.
COUNT_BITS = np.uint64(40)
LOW_SUM = np.uint64((1 << 40) - 1)
ROOM = 1 << 23
STRIP = 256  # entries looked over at once for the few that are wanted


@njit(void(Bits, int64[:, ::1]), nogil=True, cache=True)
@no_type_check
def count_upper(bits, table):
    """table[0, upper 15 bits of |x|] += 1; table[1, the same] += lower 16 bits.

    A word of a lane holds both, 1 << 40 and the lower bits, for 2**23 entries at least.
    Two lanes, because a processor waits for a sum that it has just stored.
    """
    one, bins = np.uint64(1 << 40), table.shape[1]
    first, second = np.zeros(bins, np.uint64), np.zeros(bins, np.uint64)
    for low in range(0, bits.size, ROOM):
        run = bits[low : low + ROOM]
        half = run.size // 2
        for i in range(half):
            u, v = run[2 * i] & MAGNITUDE, run[2 * i + 1] & MAGNITUDE
            first[u >> LOW_BITS] += one + np.uint64(u & LOW)
            second[v >> LOW_BITS] += one + np.uint64(v & LOW)
        for i in range(2 * half, run.size):
            u = run[i] & MAGNITUDE
            first[u >> LOW_BITS] += one + np.uint64(u & LOW)
        for i in range(bins):
            u, v = first[i], second[i]
            table[0, i] += np.int64(u >> COUNT_BITS) + np.int64(v >> COUNT_BITS)
            table[1, i] += np.int64(u & LOW_SUM) + np.int64(v & LOW_SUM)
            first[i] = second[i] = np.uint64(0)


@njit(void(Bits, int64[::1]), nogil=True, cache=True)
@no_type_check
def sum_squares(bits, table):
    """table[upper 15 bits of |x|] += the square of the lower 16 bits."""
    for i in range(bits.size):
        u = bits[i] & MAGNITUDE
        low = np.int64(u & LOW)
        table[u >> LOW_BITS] += low * low


@njit(void(Bits, int32[::1], int64[:, ::1]), nogil=True, cache=True)
@no_type_check
def count_lower(bits, rows, fine):
    """fine[row of the upper bits, lower bits] += 1.

    rows: by upper bits; -1 for upper bits that have no row
    """
    for i in range(bits.size):
        u = bits[i] & MAGNITUDE
        row = rows[u >> LOW_BITS]
        if row >= 0:
            fine[row, u & LOW] += 1


@njit(int64(Bits, int64, Bits, Bits, Bits, int64[::1], int64), nogil=True, cache=True)
@no_type_check
def gather(bits, start, lows, widths, values, places, end):
    """Appends the magnitudes inside any of the ranges, and their flat indices.

    They go to where values and places end; the new end is returned. A strip is flagged
    without branches first, and eight flags are looked at as one word, because most are
    not set.
    """
    flags = np.zeros(STRIP, np.uint8)
    words = flags.view(np.uint64)
    for low in range(0, bits.size, STRIP):
        strip = bits[low : low + STRIP]
        for i in range(STRIP):
            flags[i] = 0
        for r in range(lows.size):
            first, width = lows[r], widths[r]
            for i in range(strip.size):
                flags[i] |= np.uint8(np.uint32((strip[i] & MAGNITUDE) - first) < width)
        for k in range(words.size):
            if words[k]:
                for i in range(8 * k, 8 * k + 8):
                    if flags[i]:
                        values[end] = strip[i] & MAGNITUDE
                        places[end] = start + low + i
                        end += 1
    return end


@intrinsic
@no_type_check
def _pointer(context, address):
    """An address as a pointer to float32."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(
            arguments[0], context.get_value_type(signature.return_type)
        )

    return types.CPointer(types.float32)(types.uint64), generate


@njit(inline="always")
@no_type_check
def _floats(address, size):
    """So many floats in memory as an array."""
    pointer = _pointer(address)  # pyright: ignore[reportCallIssue]  # context is numba's
    return carray(pointer, (size,))


@njit(int64(uint64[::1], uint64, int64, Rows), nogil=True, cache=True)
@no_type_check
def load(thetas, theta0, start, taus):
    """taus[t] = theta_t - theta0 for a run of entries, given addresses.

    Returns how many are NaN or infinite.
    """
    size, bad = taus.shape[1], 0
    base = _floats(theta0, start + size)[start:]
    for t in range(taus.shape[0]):
        theta, tau = _floats(thetas[t], start + size)[start:], taus[t]
        for i in range(size):
            x = theta[i] - base[i]
            tau[i] = x
            bad += x - x != 0
    return bad


@njit(int64(uint32[:, ::1]), nogil=True, cache=True)
@no_type_check
def count_nonzero(bits):
    """How many floats, given by their bits, are neither 0 nor -0."""
    count = 0
    for row in range(bits.shape[0]):
        nonzero = np.uint32(0)
        for i in range(bits.shape[1]):
            nonzero += np.uint32((bits[row, i] & MAGNITUDE) != 0)
        count += nonzero
    return count


@njit(void(Floats, float32, float32), nogil=True, cache=True)
@no_type_check
def cut_from(tau, threshold, factor):
    """tau times factor where |tau| >= threshold, else 0.

    In place, because a loop over two arrays that may overlap is not vectorised.
    """
    for i in range(tau.size):
        x = tau[i]
        tau[i] = x * factor if abs(x) >= threshold else np.float32(0)


@njit(uint64(uint64), inline="always")
@no_type_check
def mixed(z):
    """SplitMix64's finaliser."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(void(Floats, float32, float32, uint64, uint64), nogil=True, cache=True)
@no_type_check
def cut_among(tau, threshold, factor, state, limit):
    """cut_from(), without the entries at the threshold whose word exceeds the limit.

    In place. state: of the word of entry 0. A strip is searched for such entries
    without branches first, because most strips have none.
    """
    for low in range(0, tau.size, STRIP):
        strip = tau[low : low + STRIP]
        equal = np.uint32(0)
        for i in range(strip.size):
            equal += np.uint32(abs(strip[i]) == threshold)
        if equal:
            for i in range(strip.size):
                if abs(strip[i]) == threshold:
                    word = mixed(state + np.uint64(low + i) * GOLDEN)
                    if word > limit:
                        strip[i] = np.float32(0)
        for i in range(strip.size):
            x = strip[i]
            strip[i] = x * factor if abs(x) >= threshold else np.float32(0)


@njit(
    int64(uint64[::1], uint64, int64, Rows, Floats, Floats, uint64[::1], uint64[::1]),
    nogil=True,
    cache=True,
)
@no_type_check
def load_cut(thetas, theta0, start, taus, thresholds, factors, states, limits):
    """load(), then cut_from() or, where not all equals stay, cut_among(), by task.

    states: of the word of the first entry, see cut_among()
    """
    size, bad = taus.shape[1], 0
    base = _floats(theta0, start + size)[start:]
    for t in range(taus.shape[0]):
        theta, tau = _floats(thetas[t], start + size)[start:], taus[t]
        threshold, factor = thresholds[t], factors[t]
        if limits[t] == ALL:
            for i in range(size):
                x = theta[i] - base[i]
                bad += x - x != 0
                tau[i] = x * factor if abs(x) >= threshold else np.float32(0)
        else:
            for i in range(size):
                x = theta[i] - base[i]
                bad += x - x != 0
                tau[i] = x
            cut_among(tau, threshold, factor, states[t], limits[t])
    return bad


@njit(void(Floats, uint64, float32, uint32), nogil=True, cache=True)
@no_type_check
def cut_random(tau, first, factor, limit):
    """tau times factor where the 32-bit draw of the entry is below the limit, else 0.

    In place. Entries come in pairs from one 64-bit word, lower half first; first: the
    word's state for entry 0. Bits are masked instead of a branch, because a coin cannot
    be predicted.
    """
    words = np.empty(TILE // 2, np.uint64)
    draws = words.view(np.uint32)
    for low in range(0, tau.size, TILE):
        tile = tau[low : low + TILE]
        state = first + np.uint64(low // 2) * GOLDEN
        for i in range((tile.size + 1) // 2):
            words[i] = mixed(state)
            state += GOLDEN
        for i in range(tile.size):
            tile[i] *= factor
        bits = tile.view(np.uint32)
        for i in range(tile.size):
            bits[i] = bits[i] if draws[i] < limit else np.uint32(0)


@njit(void(Rows, int64, Floats), nogil=True, cache=True)
@no_type_check
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
@no_type_check
def add_rows(taus, out):
    """The sum over tasks, first to last."""
    for low in range(0, out.size, TILE):
        add_tile(taus, low, out[low : low + TILE])
