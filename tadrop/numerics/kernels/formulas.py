"""Compiled twins of the formulas that pass over every entry many times.

Each formula's file says what they compute. They go over a piece once and give the same
bits as the formula in torch; only sums over entries are added in another order.
"""

from typing import no_type_check

import numpy as np
from numba import boolean, float32, float64, int64, njit, void

from tadrop.numerics.kernels.entries import TILE, Floats, Rows, add_tile

SIGN = np.int32(-(2**31))


@njit(int64(Rows), nogil=True, cache=True)
@no_type_check
def balance(taus):
    """How many more entries have a positive than a negative sum."""
    zero, count = np.float32(0), 0
    sums = np.empty(TILE, np.float32)
    for low in range(0, taus.shape[1], TILE):
        tile = sums[: min(TILE, taus.shape[1] - low)]
        add_tile(taus, low, tile)
        for i in range(tile.size):
            count += np.int64(tile[i] > zero) - np.int64(tile[i] < zero)
    return count


@njit(void(Rows, float32, boolean, Floats), nogil=True, cache=True)
@no_type_check
def ties(taus, fallback, mean, out):
    """The sum, or the mean, over the tasks that agree with the elected sign.

    fallback: 1, -1 or 0, the sign where the sum of all is 0
    """
    zero, one = np.float32(0), np.float32(1)
    tie = one if fallback > zero else -one
    signs, counts = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    for low in range(0, out.size, TILE):
        tile = out[low : low + TILE]
        size = tile.size
        sign, count = signs[:size], counts[:size]
        add_tile(taus, low, sign)
        for i in range(size):
            x = sign[i]
            sign[i] = one if x > zero else (-one if x < zero else tie)
            count[i] = zero
            tile[i] = zero
        for t in range(taus.shape[0]):
            tau = taus[t, low : low + size]
            for i in range(size):
                x = tau[i]
                agrees = x * sign[i] > zero
                tile[i] += x if agrees else zero
                count[i] += one if agrees else zero
        if mean:
            for i in range(size):
                x = count[i]
                tile[i] /= x if x > one else one


@njit(nogil=True, cache=True, fastmath={"reassoc"})
@no_type_check
def _add_sums(tau, mask, largest, sums, t):
    """Adds a tile to sums[:, t]; the order of addition is the compiler's,
    in float64.
    """
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(tau.size):
        x = abs(tau[i])
        m = largest[i] if mask[i] else np.float32(0)
        a += np.float64(x)
        b += np.float64(m)
        c += np.float64(x * m)
        d += np.float64(m * m)
    sums[0, t] += a
    sums[1, t] += b
    sums[2, t] += c
    sums[3, t] += d


@njit(void(Rows, Floats, boolean[:, ::1], float64[:, ::1]), nogil=True, cache=True)
@no_type_check
def emr(taus, unified, masks, sums):
    """The unified vector, the masks, and four sums per task, [4, task].

    They are the sums of |tau|, |masked|, |tau masked| and |masked|^2. An entry agrees
    with the elected sign if, with that sign taken off, its bits are a positive whole
    number; the largest of these is the largest magnitude. Compilers vectorise this for
    whole numbers and not for floats.
    """
    flips = np.empty(TILE, np.int32)
    all_bits, all_largest = taus.view(np.int32), unified.view(np.int32)
    bytes_ = masks.view(np.uint8)
    for low in range(0, unified.size, TILE):
        tile, largest = unified[low : low + TILE], all_largest[low : low + TILE]
        size = tile.size
        flip = flips[:size]
        add_tile(taus, low, tile)
        for i in range(size):
            flip[i] = np.int32(0) if tile[i] > np.float32(0) else SIGN
            largest[i] = np.int32(0)
        for t in range(taus.shape[0]):
            bits, mask = all_bits[t, low : low + size], bytes_[t, low : low + size]
            for i in range(size):
                largest[i] = max(np.int32(bits[i] ^ flip[i]), largest[i])
            for i in range(size):
                mask[i] = np.uint8(np.int32(bits[i] ^ flip[i]) > 0)
        for t in range(taus.shape[0]):
            _add_sums(
                taus[t, low : low + size], bytes_[t, low : low + size], tile, sums, t
            )
        for i in range(size):
            largest[i] ^= flip[i]


@njit(
    void(Rows, Floats, Floats, float32, boolean, Rows, Rows),
    nogil=True,
    cache=True,
    error_model="numpy",
)
@no_type_check
def pcb(taus, low, high, excess, normalised, exponents, products):
    """What PCB takes the exponential of, and what the hyperbolic tangent, [T, n] each.

    low, high: what magnitudes are clamped to, by task; others: see baselines/pcb.py
    """
    zero, tasks = np.float32(0), np.float32(taus.shape[0])
    sums = np.empty(TILE, np.float32)
    for start in range(0, taus.shape[1], TILE):
        stop = min(start + TILE, taus.shape[1])
        total = sums[: stop - start]
        for t in range(taus.shape[0]):
            least, most = low[t], high[t]
            width = most - least
            divisor = width if width > zero else np.float32(1)
            tau, product = taus[t, start:stop], products[t, start:stop]
            exponent = exponents[t, start:stop]
            for i in range(total.size):
                x = tau[i]
                norm = (min(max(abs(x), least), most) - least) / divisor
                norm = norm if width > zero else zero
                exponent[i] = tasks * (norm * norm) - excess
                sign = np.float32(x > zero) - np.float32(x < zero)
                product[i] = sign * norm
        add_tile(products if normalised else taus, start, total)
        for t in range(taus.shape[0]):
            tau, product = taus[t, start:stop], products[t, start:stop]
            for i in range(total.size):
                product[i] = tau[i] * total[i]


@njit(
    void(Rows, Rows, Floats, Floats, Floats, Floats, float32, Floats),
    nogil=True,
    cache=True,
    error_model="numpy",
)
@no_type_check
def weighted_mean(taus, balances, low, high, cut, top, tiny, out):
    """The mean of the clamped entries by their scaled balances, see baselines/pcb.py."""
    zero = np.float32(0)
    sums = np.empty(TILE, np.float32)
    for start in range(0, out.size, TILE):
        stop = min(start + TILE, out.size)
        total, mean = sums[: stop - start], out[start:stop]
        total[:] = zero
        mean[:] = zero
        for t in range(taus.shape[0]):
            least, most, base = low[t], high[t], cut[t]
            width = top[t] - base
            divisor = width if width > zero else np.float32(1)
            tau, balance = taus[t, start:stop], balances[t, start:stop]
            for i in range(total.size):
                x = tau[i]
                sign = np.float32(x > zero) - np.float32(x < zero)
                value = sign * min(max(abs(x), least), most)
                weight = (min(max(balance[i], base), top[t]) - base) / divisor
                weight = weight if width > zero else zero
                mean[i] += value * weight
                total[i] += weight
        for i in range(total.size):
            mean[i] = mean[i] / max(total[i], tiny) + zero
