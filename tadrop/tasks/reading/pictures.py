"""Image files as BEiT-3's models see them (arXiv 2208.10442)."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tadrop.types import TadropError

# Mean and standard deviation of the three channels.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INCEPTION = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def picture(file: Path, side: int, crop: bool) -> Tensor:
    """An image [3, side, side], normalised.

    It is squashed; with crop, scaled by its shorter side and cropped, and normalised
    with ImageNet's own mean.
    """
    try:
        image = Image.open(file).convert("RGB")
    except OSError as error:
        raise TadropError(f"{file}: not a readable image ({error})") from error
    image = _cropped(image, side) if crop else _resized(image, side, side)
    mean, deviation = torch.tensor(IMAGENET if crop else INCEPTION)[..., None, None]
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    return (pixels - mean) / deviation


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _cropped(image: Image.Image, side: int) -> Image.Image:
    """The middle of an image whose shorter side is scaled to `side`."""
    short = min(image.size)
    image = _resized(image, side * image.width // short, side * image.height // short)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))
