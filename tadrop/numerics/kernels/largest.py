"""Compiled loops that keep, or leave out, the largest magnitudes of matrix rows.

Magnitudes are compared by their bits, which sort like the numbers themselves.
"""

from typing import no_type_check

import numpy as np
from numba import boolean, float32, int32, int64, njit, uint64, void

from tadrop.numerics.kernels.entries import GOLDEN, Rows, mixed

Bits = Magnitudes = int32[::1]
MAGNITUDE = np.int32(0x7FFFFFFF)
# The lower bits of a magnitude, which are looked at only where its upper bits agree.
LOWER = 20


@njit(int64(Magnitudes, int32), nogil=True, cache=True)
@no_type_check
def count_from(magnitudes, least):
    """How many are at least so large."""
    count = np.int32(0)
    for i in range(magnitudes.size):
        count += np.int32(magnitudes[i] >= least)
    return np.int64(count)


@njit(int32(Magnitudes, int64, int32, int64, int64), nogil=True, cache=True)
@no_type_check
def _found(magnitudes, nth, value, first, end):
    """The nth largest, from 1: `value` with its bits from `first` down to `end`.

    A bit is set where as many as `nth` are at least as large as the number with it,
    which takes one count a bit and no branch an entry.
    """
    for bit in range(first, end - 1, -1):
        trial = np.int32(value | np.int32(1 << bit))
        if count_from(magnitudes, trial) >= nth:
            value = trial
    return value


@njit(int32(Magnitudes, Magnitudes, int64), nogil=True, cache=True)
@no_type_check
def nth_largest(magnitudes, spare, nth):
    """The nth largest magnitude, from 1.

    spare: of the same size, for those with its upper bits
    """
    value = _found(magnitudes, nth, np.int32(0), 30, LOWER)
    upper = value >> LOWER
    above, end = 0, 0
    for i in range(magnitudes.size):
        magnitude = magnitudes[i]
        spare[end] = magnitude
        above += np.int64((magnitude >> LOWER) > upper)
        end += np.int64((magnitude >> LOWER) == upper)
    return _found(spare[:end], nth - above, value, LOWER - 1, 0)


@njit(void(Bits, Magnitudes, int32, int64), nogil=True, cache=True)
@no_type_check
def _drop_last(bits, magnitudes, value, room):
    """Zeroes all but the first `room` entries with this magnitude."""
    for i in range(bits.size):
        if magnitudes[i] == value:
            bits[i] = bits[i] if room > 0 else np.int32(0)
            room -= 1


@njit(void(Bits, Magnitudes, int32, int64, uint64), nogil=True, cache=True)
@no_type_check
def _drop_drawn(bits, magnitudes, value, room, state):
    """Zeroes all entries with this magnitude but the `room` of the lowest words.

    state: of the word of the first entry
    """
    words = np.empty(bits.size, np.uint64)
    end = 0
    for i in range(bits.size):
        if magnitudes[i] == value:
            words[end] = mixed(state + np.uint64(i) * GOLDEN)
            end += 1
    drawn = np.sort(words[:end])
    last = drawn[room - 1]
    place = 0
    for i in range(bits.size):
        if magnitudes[i] == value:
            bits[i] = bits[i] if words[place] <= last else np.int32(0)
            place += 1


@njit(void(Rows, int64, int64, uint64, boolean), nogil=True, cache=True)
@no_type_check
def keep_largest(rows, count, start, order, is_dealt):
    """Keeps the `count` largest of each row, from 1 to all of them; the rest become 0.

    In place. Of equals at the end of the count those with the lowest words stay, or the
    first. A zero becomes 0.
    start: the first flat index; order: state of the word of flat index 0
    """
    size = rows.shape[1]
    magnitudes, spare = np.empty(size, np.int32), np.empty(size, np.int32)
    for index in range(rows.shape[0]):
        bits = rows[index].view(np.int32)
        for i in range(size):
            magnitudes[i] = bits[i] & MAGNITUDE
        value = nth_largest(magnitudes, spare, count)
        least = max(value, np.int32(1))
        if count_from(magnitudes, least) > count:
            room = count - count_from(magnitudes, np.int32(value + 1))
            if is_dealt:
                state = order + np.uint64(start + index * size) * GOLDEN
                _drop_drawn(bits, magnitudes, value, room, state)
            else:
                _drop_last(bits, magnitudes, value, room)
        for i in range(size):
            bits[i] = bits[i] if magnitudes[i] >= least else np.int32(0)


@njit(void(float32[:, :, ::1], int64, Rows), nogil=True, cache=True)
@no_type_check
def sum_without_largest(taus, count, out):
    """The sum over tasks, first to last, without each row's `count` largest entries.

    Of equals at the end of the count, from 1 to all, the first are left out.
    """
    size = out.shape[1]
    magnitudes, spare = np.empty(size, np.int32), np.empty(size, np.int32)
    for t in range(taus.shape[0]):
        for index in range(out.shape[0]):
            row, total = taus[t, index], out[index]
            bits = row.view(np.int32)
            for i in range(size):
                magnitudes[i] = bits[i] & MAGNITUDE
            value = nth_largest(magnitudes, spare, count)
            room = count - count_from(magnitudes, np.int32(value + 1))
            for i in range(size):
                x = row[i] if magnitudes[i] <= value else np.float32(0)
                if magnitudes[i] == value:
                    x = x if room <= 0 else np.float32(0)
                    room -= 1
                total[i] = x if t == 0 else total[i] + x
