"""Draws characters as small grey images: typeface to clean master, random affine view,
ink on paper.

Everything is integer arithmetic, PIL's affine transform and single-rounding float32
operations on PCG64 draws, so that the same images come out on every machine with the
same Pillow, matplotlib and numpy.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 28  # pixels of an image
MASTER = 56  # pixels of the clean rendering that an image is warped from

HELD_OUT = {  # faces that training never sees, for families with eight faces or more
    "validation": ("DejaVuSansMono-Oblique", "DejaVuSerif-Bold"),
    "test": ("DejaVuSans-BoldOblique", "DejaVuSerif-Italic", "STIXGeneralBol"),
}


@dataclass(frozen=True)
class Look:
    """How the images of one family look; geometry is in pixels, degrees and fractions."""

    invert: bool = False  # dark ink on light paper
    background: str = "flat"  # flat | ramp | stripes | checks | blobs
    texture: int = 0  # amplitude of the background pattern, grey levels
    contrast: tuple[int, int] = (150, 230)  # grey levels between paper and ink
    noise: int = 12  # standard deviation of the pixel noise, grey levels
    rotate: int = 8  # largest rotation either way, degrees
    shift: float = 2.0  # largest translation either way, pixels of the image
    zoom: tuple[float, float] = (0.85, 1.1)
    shear: float = 0.1
    mirror: bool = False  # the whole family is shown mirrored
    turn: int = 0  # quarter turns applied to the whole family


@dataclass(frozen=True)
class Family:
    """The classes of one task, the faces they are drawn with, and the look of the
    images.
    """

    chars: str
    faces: tuple[str, ...]
    look: Look
    anchor: str = (
        "glyph"  # "glyph": each is centred; "line": position on the line is kept
    )

    def faces_of(self, split: str) -> tuple[str, ...]:
        if len(self.faces) < 8:
            return self.faces
        held = {face for faces in HELD_OUT.values() for face in faces}
        wanted = HELD_OUT.get(split)
        return tuple(
            f for f in self.faces if (f in wanted if wanted else f not in held)
        )


@lru_cache(maxsize=64)
def _font(face: str, points: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    return ImageFont.truetype(str(path), points, layout_engine=ImageFont.Layout.BASIC)


def masters(chars: str, face: str, anchor: str = "glyph") -> list[Image.Image]:
    """Clean renderings, white on black, [len(chars)] images of MASTER x MASTER pixels.

    One scale serves the whole family, so that sizes within it stay comparable; only
    what would not fit shrinks.
    """
    font = _font(face, 64)
    boxes = np.array([font.getbbox(c, anchor="ls") for c in chars])
    extents = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    family_scale = 40 / np.percentile(extents, 90)
    line = (boxes.min(0)[:2] + boxes.max(0)[2:]) / 2
    images = []
    for char, box, extent in zip(chars, boxes, extents, strict=True):
        scale = min(family_scale, 46 / max(extent, 1))
        x, y = (
            line if anchor == "line" else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        )
        points = max(round(64 * scale), 8)
        image = Image.new("L", (MASTER, MASTER))
        at = (MASTER / 2 - x * points / 64, MASTER / 2 - y * points / 64)
        ImageDraw.Draw(image).text(
            at, char, fill=255, font=_font(face, points), anchor="ls"
        )
        images.append(image)
    return images


def warp(image: Image.Image, look: Look, rng: np.random.Generator) -> np.ndarray:
    """A random affine view of a master, [SIZE, SIZE] uint8."""
    angle = np.deg2rad(rng.uniform(-look.rotate, look.rotate))
    zoom_x, zoom_y = rng.uniform(*look.zoom, size=2)
    shear = rng.uniform(-look.shear, look.shear)
    dx, dy = rng.uniform(-look.shift, look.shift, size=2)
    cos, sin = np.cos(angle), np.sin(angle)
    # output pixel -> master pixel, about the centres of both
    matrix = (
        np.array([[cos, -sin], [sin, cos]])
        @ np.array([[1 / zoom_x, shear], [0, 1 / zoom_y]])
        * (MASTER / SIZE)
    )
    offset = MASTER / 2 - matrix @ np.array([SIZE / 2 + dx, SIZE / 2 + dy])
    a, b, c, d = matrix.ravel().tolist()
    coefficients = (a, b, float(offset[0]), c, d, float(offset[1]))
    view = image.transform(
        (SIZE, SIZE), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    array = np.asarray(view)
    if look.mirror:
        array = array[:, ::-1]
    return np.rot90(array, look.turn)


def background(look: Look, count: int, rng: np.random.Generator) -> np.ndarray:
    """Paper patterns, [count, SIZE, SIZE] float32 of mean about 0 and amplitude
    look.texture.
    """
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.int64)
    a, b = rng.integers(-3, 4, size=(2, count, 1, 1))
    phase = rng.integers(0, 12, size=(count, 1, 1))
    if look.background == "ramp":
        pattern = (a * (rows - SIZE // 2) + b * (columns - SIZE // 2)) / np.float32(
            6 * SIZE
        )
    elif look.background == "stripes":
        period = rng.integers(4, 9, size=(count, 1, 1))
        pattern = (
            (a * rows + b * columns + phase) // 3 % period < period // 2
        ) - np.float32(0.5)
    elif look.background == "checks":
        period = rng.integers(3, 7, size=(count, 1, 1))
        pattern = (
            ((rows + phase) // period + (columns + phase) // period) % 2
        ) - np.float32(0.5)
    elif look.background == "blobs":
        coarse = rng.integers(0, 256, size=(count, 5, 5)).astype(np.uint8)
        smooth = [
            np.asarray(
                Image.fromarray(c).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            )
            for c in coarse
        ]
        pattern = np.stack(smooth).astype(np.float32) / 255 - np.float32(0.5)
    else:
        pattern = np.zeros((count, SIZE, SIZE))
    return pattern.astype(np.float32) * look.texture


def paint(ink: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Puts ink [count, SIZE, SIZE] uint8 on paper: background, contrast, inversion,
    noise; uint8 again.
    """
    count = len(ink)
    contrast = rng.integers(
        look.contrast[0], look.contrast[1] + 1, size=(count, 1, 1)
    ).astype(np.float32)
    paper = (rng.uniform(0, 1, size=(count, 1, 1)).astype(np.float32)) * (
        255 - contrast
    )
    image = paper + background(look, count, rng)
    alpha = ink.astype(np.float32) / 255
    image = image * (1 - alpha) + (paper + contrast) * alpha
    if look.invert:
        image = 255 - image
    image = image + rng.standard_normal(ink.shape, dtype=np.float32) * look.noise
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def render(
    family: Family, labels: np.ndarray, split: str, rng: np.random.Generator
) -> np.ndarray:
    """Images of the given classes, each in a random face of the split, [len(labels),
    SIZE, SIZE] uint8.
    """
    faces = family.faces_of(split)
    sheets = [masters(family.chars, face, family.anchor) for face in faces]
    chosen = rng.integers(0, len(faces), size=len(labels))
    ink = [
        warp(sheets[face][label], family.look, rng)
        for face, label in zip(chosen, labels, strict=True)
    ]
    return paint(np.stack(ink), family.look, rng)
