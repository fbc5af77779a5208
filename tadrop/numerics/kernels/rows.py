"""Compiled loops over matrix rows: ranks by magnitude, and the largest of each row.

Magnitudes are compared by their bits, which sort like the numbers themselves.
"""

from typing import no_type_check

import numpy as np
from numba import boolean, float64, int64, njit, uint64, void

from tadrop.numerics.kernels.entries import GOLDEN, MAGNITUDE, Floats, Rows, mixed

Words = uint64[::1]
# Entries of a row up to which it is sorted by insertion.
FEW = 48
# Bits of a radix: four of them hold a magnitude.
DIGIT, DIGITS = 8, 4
# A key is an entry's magnitude, above, and its column.
HALF, COLUMN = np.uint64(32), np.uint64(0xFFFFFFFF)


@njit(void(Words), nogil=True, cache=True)
@no_type_check
def insertion_sort(words):
    """Ascending, in place."""
    for i in range(1, words.size):
        word = words[i]
        j = i
        while j > 0 and words[j - 1] > word:
            words[j] = words[j - 1]
            j -= 1
        words[j] = word


@njit(void(Words, Words, int64[:, ::1]), nogil=True, cache=True)
@no_type_check
def radix_sort(keys, spare, counts):
    """Ascending by magnitude, the upper half of a key; equal ones stay as they stand.

    In place: an even number of passes ends where it began.
    spare: of the same size; counts: [DIGITS, 2**DIGIT]
    """
    mask = np.uint64((1 << DIGIT) - 1)
    counts[:] = 0
    for i in range(keys.size):
        magnitude = keys[i] >> HALF
        for digit in range(DIGITS):
            place = (magnitude >> np.uint64(DIGIT * digit)) & mask
            counts[digit, place] += 1
    for digit in range(DIGITS):
        end = 0
        for place in range(1 << DIGIT):
            count = counts[digit, place]
            counts[digit, place] = end
            end += count
    for digit in range(DIGITS):
        source, target = (keys, spare) if digit % 2 == 0 else (spare, keys)
        shift, ends = np.uint64(32 + DIGIT * digit), counts[digit]
        for i in range(source.size):
            key = source[i]
            place = (key >> shift) & mask
            target[ends[place]] = key
            ends[place] += 1


@njit(void(Words, Words), nogil=True, cache=True)
@no_type_check
def deal(words, keys):
    """Brings keys into the ascending order of their words, which all differ."""
    if words.size > FEW:
        keys[:] = keys[words.argsort()]
        return
    for i in range(1, words.size):
        word, key = words[i], keys[i]
        j = i
        while j > 0 and words[j - 1] > word:
            words[j], keys[j] = words[j - 1], keys[j - 1]
            j -= 1
        words[j], keys[j] = word, key


@njit(void(Words, Words, uint64), nogil=True, cache=True)
@no_type_check
def deal_equals(keys, words, state):
    """Brings each run of equal magnitudes into the order of its entries' words.

    keys: sorted; words: room for as many; state: of the word of column 0
    """
    first = 0
    while first < keys.size:
        magnitude, end = keys[first] >> HALF, first + 1
        while end < keys.size and keys[end] >> HALF == magnitude:
            end += 1
        if end - first > 1:
            for i in range(first, end):
                words[i] = mixed(state + (keys[i] & COLUMN) * GOLDEN)
            deal(words[first:end], keys[first:end])
        first = end


@njit(int64(Floats, Words), nogil=True, cache=True)
@no_type_check
def keys_of(row, keys):
    """The keys of the entries that are not zero, in their order; how many they are."""
    bits = row.view(np.uint32)
    end = 0
    for i in range(row.size):
        magnitude = bits[i] & MAGNITUDE
        keys[end] = np.uint64(magnitude) << HALF | np.uint64(i)
        end += np.int64(magnitude != 0)
    return end


@njit(void(Words, uint64), nogil=True, cache=True)
@no_type_check
def fill(words, state):
    """Words one after another; state: of the first."""
    for i in range(words.size):
        words[i] = mixed(state)
        state += GOLDEN


@njit(
    void(Rows, int64, float64[::1], Floats, uint64, uint64, boolean),
    nogil=True,
    cache=True,
)
@no_type_check
def prune_by_rank(rows, start, limits, divisors, seed, order, is_dealt):
    """An entry of rank r stays, divided by divisors[r], if its draw is below limits[r].

    In place. Ranks ascend by magnitude, in each row; a zero becomes 0.
    start: the first flat index
    seed, order: states of the words of flat index 0, of draws (in pairs, lower half
    first) and of equal magnitudes; is_dealt: whether words rank those, or columns
    """
    size = rows.shape[1]
    keys, spare = np.empty(size, np.uint64), np.empty(size, np.uint64)
    counts = np.empty((DIGITS, 1 << DIGIT), np.int64)
    words = np.empty(size // 2 + 1, np.uint64)
    for index in range(rows.shape[0]):
        row, flat = rows[index], np.uint64(start + index * size)
        fill(words, seed + (flat >> np.uint64(1)) * GOLDEN)
        draws = words.view(np.uint32)[flat & np.uint64(1) :]
        zeros = size - keys_of(row, keys)
        ranked, room = keys[: size - zeros], spare[: size - zeros]
        if ranked.size <= FEW:
            insertion_sort(ranked)
        else:
            radix_sort(ranked, room, counts)
        if is_dealt:
            deal_equals(ranked, room, order + flat * GOLDEN)
        for i in range(ranked.size):
            column, rank = ranked[i] & COLUMN, zeros + i
            x = row[column] / divisors[rank]
            row[column] = x if draws[column] < limits[rank] else np.float32(0)
        if zeros:
            for i in range(size):
                row[i] += np.float32(0)  # -0 becomes 0
