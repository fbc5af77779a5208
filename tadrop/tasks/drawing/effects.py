"""What a look does to its images beyond geometry, paper and noise, by name.

An effect of the ink changes the character before it is put on paper, an effect of the
picture changes the finished image. All are integer arithmetic and draws of the given
generator, on [count, side, side] uint8. To change anything here changes images:
tadrop/tasks/glyphs.py then needs a new VERSION.
"""

from collections.abc import Callable

import numpy as np

# Takes images [count, side, side] uint8, how strong it is, and what it draws from.
Effect = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def thin(ink: np.ndarray, times: int, rng: np.random.Generator) -> np.ndarray:
    """Strokes lose their rim `times` times: the least of each pixel's 3 x 3."""
    for _ in range(times):
        ink = _eroded(ink)
    return ink


def hollow(ink: np.ndarray, times: int, rng: np.random.Generator) -> np.ndarray:
    """Only the rim of each stroke is left, `times` pixels wide."""
    return ink - thin(ink, times, rng)


def shadow(ink: np.ndarray, pixels: int, rng: np.random.Generator) -> np.ndarray:
    """A copy at half strength, displaced to the right and downwards."""
    copy = np.zeros_like(ink)
    copy[:, pixels:, pixels:] = ink[:, :-pixels, :-pixels] // 2
    return np.maximum(ink, copy)


def wave(ink: np.ndarray, amplitude: int, rng: np.random.Generator) -> np.ndarray:
    """Rows are displaced sideways in a wave of eight rows, in a phase of its own."""
    height = ink.shape[1]
    offsets = np.array([0, 2, 3, 2, 0, -2, -3, -2]) * amplitude // 3
    phase = rng.integers(0, 8, size=(len(ink), 1))
    shifts = offsets[(np.arange(height) + phase) % 8]
    columns = (np.arange(height) - shifts[:, :, None]) % height
    return np.take_along_axis(ink, columns, axis=2)


def rows(images: np.ndarray, period: int, rng: np.random.Generator) -> np.ndarray:
    """Of every `period` rows the last is black."""
    images[:, period - 1 :: period] = 0
    return images


def columns(images: np.ndarray, period: int, rng: np.random.Generator) -> np.ndarray:
    """Of every `period` columns the last is black."""
    images[:, :, period - 1 :: period] = 0
    return images


def lattice(images: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Every second square of a chequered lattice is black."""
    at = np.arange(images.shape[1]) // side
    images[:, (at[:, None] + at) % 2 == 1] = 0
    return images


def holes(images: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` white squares of five pixels lie anywhere on the image."""
    side = images.shape[1]
    corners = rng.integers(0, side - 4, size=(len(images), count, 2))
    at = np.arange(side)
    for which in range(count):
        offsets = at - corners[:, which, :, None]
        row, column = (offsets[:, 0] // 5 == 0), (offsets[:, 1] // 5 == 0)
        images[row[:, :, None] & column[:, None, :]] = 255
    return images


def strokes(images: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` white rows and as many white columns cross each image."""
    side = images.shape[1]
    lines = rng.integers(0, side, size=(2, len(images), count))
    each = np.arange(len(images))[:, None]
    images[each, lines[0]] = 255
    images[each, :, lines[1]] = 255
    return images


def salt(images: np.ndarray, percent: int, rng: np.random.Generator) -> np.ndarray:
    """That many pixels of a hundred are black or white, whatever they were."""
    drawn = rng.integers(0, 200, size=images.shape)
    images[drawn < percent] = 0
    images[drawn >= 200 - percent] = 255
    return images


def blur(images: np.ndarray, times: int, rng: np.random.Generator) -> np.ndarray:
    """Smoothed by (1, 2, 1) / 4 along both axes, `times` times."""
    smooth = images.astype(np.int32) * 16
    for _ in range(times):
        for axis in (1, 2):
            before, after = _neighbours(smooth, axis)
            smooth = (before + 2 * smooth + after) // 4
    return (smooth // 16).astype(np.uint8)


def pixelate(images: np.ndarray, block: int, rng: np.random.Generator) -> np.ndarray:
    """Squares of `block` pixels show their mean grey; the block divides the side."""
    count, side, _ = images.shape
    squares = images.reshape(count, side // block, block, side // block, block)
    means = squares.astype(np.int64).sum((2, 4)) // block**2
    return means.repeat(block, 1).repeat(block, 2).astype(np.uint8)


def levels(images: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Only `count` shades of grey are left."""
    step = 256 // count
    return (images // step * step + step // 2).astype(np.uint8)


def _neighbours(images: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's neighbour before and after it; the rim is its own."""
    at = np.arange(images.shape[axis])
    before, after = np.maximum(at - 1, 0), np.minimum(at + 1, at[-1])
    return images.take(before, axis), images.take(after, axis)


def _eroded(ink: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        before, after = _neighbours(ink, axis)
        ink = np.minimum(np.minimum(before, ink), after)
    return ink


INK: dict[str, Effect] = {
    "thin": thin,
    "hollow": hollow,
    "shadow": shadow,
    "wave": wave,
}
PICTURE: dict[str, Effect] = {
    "rows": rows,
    "columns": columns,
    "lattice": lattice,
    "holes": holes,
    "strokes": strokes,
    "salt": salt,
    "blur": blur,
    "pixelate": pixelate,
    "levels": levels,
}
