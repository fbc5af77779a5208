"""Draws characters as small grey images: typeface to clean master, random affine view,
ink on paper.

Everything is integer arithmetic, PIL's affine transform and single-rounding float32
operations on PCG64 draws, so that the same images come out on every machine with the
same Pillow, matplotlib and numpy. To change anything here changes images:
tadrop/tasks/glyphs.py then needs a new VERSION.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tadrop.tasks.drawing.effects import INK, PICTURE, Effect

SIZE = 28  # pixels of an image
CLASSES = 10  # of a task
MASTER = 56  # pixels of the clean rendering that an image is warped from

# Faces that training never sees, for families of eight faces or more.
HELD_OUT = {
    "validation": ("DejaVuSansMono-Oblique", "DejaVuSerif-Bold"),
    "test": ("DejaVuSans-BoldOblique", "DejaVuSerif-Italic", "STIXGeneralBol"),
}
UNSEEN = HELD_OUT["validation"] + HELD_OUT["test"]


@dataclass(frozen=True)
class Look:
    """How the images of one family look; geometry is in pixels, degrees and fractions.

    invert:     dark ink on light paper
    background: flat, ramp, stripes, checks or blobs
    texture:    amplitude of the background's pattern, in grey levels
    contrast:   least and largest difference between paper and ink, in grey levels
    noise:      standard deviation of the pixel noise, in grey levels
    rotate:     largest rotation either way, in degrees
    shift:      largest translation either way, in pixels of the image
    zoom:       least and largest magnification
    shear:      largest shear either way
    effects:    what else is done, in order: names of tadrop/tasks/drawing/effects.py
                with how strong each is
    """

    invert: bool = False
    background: str = "flat"
    texture: int = 0
    contrast: tuple[int, int] = (150, 230)
    noise: int = 12
    rotate: int = 8
    shift: float = 2.0
    zoom: tuple[float, float] = (0.85, 1.1)
    shear: float = 0.1
    effects: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Family:
    """The characters of one family, the faces they are drawn with, the images' look.

    chars:  all of them; a task has CLASSES of these
    anchor: glyph centres each character; line keeps its position on the line
    """

    chars: str
    faces: tuple[str, ...]
    look: Look
    anchor: str = "glyph"

    def shown(self) -> str:
        """The task's classes: CLASSES characters, evenly spaced in the family."""
        count = len(self.chars)
        return "".join(self.chars[at * count // CLASSES] for at in range(CLASSES))

    def faces_of(self, split: str) -> tuple[str, ...]:
        """The faces of a split: all of them where a family has less than eight."""
        if len(self.faces) < 8:
            return self.faces
        allowed = HELD_OUT.get(split)
        if allowed is None:
            allowed = set(self.faces).difference(UNSEEN)
        return tuple(face for face in self.faces if face in allowed)


@lru_cache(maxsize=64)
def _font(face: str, points: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    return ImageFont.truetype(str(path), points, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=512)  # the base draws each of them in many looks
def masters(chars: str, face: str, anchor: str = "glyph") -> tuple[Image.Image, ...]:
    """Clean renderings, white on black, [len(chars)] images of MASTER x MASTER pixels.

    One scale serves the whole family, so that sizes within it stay comparable; only
    what would not fit shrinks.
    """
    font = _font(face, 64)
    boxes = np.array([font.getbbox(char, anchor="ls") for char in chars])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    extents = np.maximum(widths, heights)
    family_scale = 40 / np.percentile(extents, 90)
    line = (boxes.min(0)[:2] + boxes.max(0)[2:]) / 2
    images: list[Image.Image] = []
    for char, box, extent in zip(chars, boxes, extents, strict=True):
        scale = min(family_scale, 46 / max(extent, 1))
        x, y = line
        if anchor != "line":
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        points = max(round(64 * scale), 8)
        image = Image.new("L", (MASTER, MASTER))
        at = (MASTER / 2 - x * points / 64, MASTER / 2 - y * points / 64)
        pen = ImageDraw.Draw(image)
        pen.text(at, char, fill=255, font=_font(face, points), anchor="ls")
        images.append(image)
    return tuple(images)


def warp(image: Image.Image, look: Look, rng: np.random.Generator) -> np.ndarray:
    """A random affine view of a master, [SIZE, SIZE] uint8."""
    angle = np.deg2rad(rng.uniform(-look.rotate, look.rotate))
    zoom_x, zoom_y = rng.uniform(*look.zoom, size=2)
    shear = rng.uniform(-look.shear, look.shear)
    dx, dy = rng.uniform(-look.shift, look.shift, size=2)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]])
    stretch = np.array([[1 / zoom_x, shear], [0, 1 / zoom_y]])
    # This maps a pixel of the image to one of the master, about the centres of both.
    matrix = rotation @ stretch * (MASTER / SIZE)
    offset = MASTER / 2 - matrix @ np.array([SIZE / 2 + dx, SIZE / 2 + dy])
    a, b, c, d = matrix.ravel().tolist()
    coefficients = (a, b, float(offset[0]), c, d, float(offset[1]))
    view = image.transform(
        (SIZE, SIZE), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return np.asarray(view)


def background(look: Look, count: int, rng: np.random.Generator) -> np.ndarray:
    """Paper patterns, [count, SIZE, SIZE] float32.

    Their mean is about 0 and their amplitude is look.texture.
    """
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.int64)
    a, b = rng.integers(-3, 4, size=(2, count, 1, 1))
    phase = rng.integers(0, 12, size=(count, 1, 1))
    half = np.float32(0.5)
    if look.background == "ramp":
        slope = a * (rows - SIZE // 2) + b * (columns - SIZE // 2)
        pattern = slope / np.float32(6 * SIZE)
    elif look.background == "stripes":
        period = rng.integers(4, 9, size=(count, 1, 1))
        distance = (a * rows + b * columns + phase) // 3
        pattern = (distance % period < period // 2) - half
    elif look.background == "checks":
        period = rng.integers(3, 7, size=(count, 1, 1))
        squares = (rows + phase) // period + (columns + phase) // period
        pattern = squares % 2 - half
    elif look.background == "blobs":
        pattern = _blobs(count, rng) / 255 - half
    else:
        pattern = np.zeros((count, SIZE, SIZE))
    return pattern.astype(np.float32) * look.texture


def _blobs(count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of 5 x 5 grey levels, smoothed to [count, SIZE, SIZE] float32."""
    coarse = rng.integers(0, 256, size=(count, 5, 5)).astype(np.uint8)
    smooth = []
    for noise in coarse:
        image = Image.fromarray(noise)
        smooth.append(np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
    return np.stack(smooth).astype(np.float32)


def paint(ink: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Puts ink on paper: background, contrast, inversion, noise; and the look's effects.

    Takes and gives [count, SIZE, SIZE] uint8.
    """
    ink = _after(ink, look, INK, rng)
    count = len(ink)
    least, largest = look.contrast
    contrast = rng.integers(least, largest + 1, size=(count, 1, 1)).astype(np.float32)
    brightness = rng.uniform(0, 1, size=(count, 1, 1)).astype(np.float32)
    paper = brightness * (255 - contrast)
    image = paper + background(look, count, rng)
    alpha = ink.astype(np.float32) / 255
    image = image * (1 - alpha) + (paper + contrast) * alpha
    if look.invert:
        image = 255 - image
    image = image + rng.standard_normal(ink.shape, dtype=np.float32) * look.noise
    image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return _after(image, look, PICTURE, rng)


def _after(
    images: np.ndarray, look: Look, kind: dict[str, Effect], rng: np.random.Generator
) -> np.ndarray:
    """The images after those of the look's effects that are of this kind."""
    for name, strength in look.effects:
        if name in kind:
            images = kind[name](images, strength, rng)
    return images


def render(
    family: Family, labels: np.ndarray, split: str, rng: np.random.Generator
) -> np.ndarray:
    """Images of the given classes, each in a random face of the split.

    Their shape is [len(labels), SIZE, SIZE], uint8.
    """
    faces = family.faces_of(split)
    sheets = [masters(family.chars, face, family.anchor) for face in faces]
    chosen = rng.integers(0, len(faces), size=len(labels))
    ink = []
    for face, label in zip(chosen, labels, strict=True):
        ink.append(warp(sheets[face][label], family.look, rng))
    return paint(np.stack(ink), family.look, rng)
