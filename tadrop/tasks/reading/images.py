"""Images made ready once: decoded, resized and cropped into a memory-mapped uint8 file
that later runs read.

The same steps in the same order as open_clip's transform, on PIL images, to the last
bit: resize, crop, then RGB. Scaling and normalisation are the model's first layer, so
one cache serves every model of the same input size.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tadrop.storage.files import write_text
from tadrop.storage.folders import building
from tadrop.types import TadropError

# Part of every name in the cache. To prepare images in another way takes a new version.
VERSION = 1
RESIZES = ("shortest", "squash")
FACTS = "facts.json"
CHUNK = 256  # images decoded side by side before they are written


def prepare(image: Image.Image, size: int, resize: str = "shortest") -> np.ndarray:
    """An image as uint8 [size, size, 3].

    resize: shortest is bicubic on the shorter side, then a centre crop; squash is
    bicubic on both sides
    """
    width, height = image.size
    if resize == "squash":
        target = (size, size)
    elif width <= height:
        target = (size, int(size * height / width))
    else:
        target = (int(size * width / height), size)
    if target != image.size:
        image = image.resize(target, Image.Resampling.BICUBIC)
    left, top = round((target[0] - size) / 2.0), round((target[1] - size) / 2.0)
    return np.asarray(image.crop((left, top, left + size, top + size)).convert("RGB"))


@dataclass(frozen=True)
class Images:
    """One split of one task.

    images: [n, size, size, 3] uint8, on disk
    labels: [n]
    facts:  what is known of them
    """

    images: np.ndarray
    labels: np.ndarray
    facts: Mapping[str, Any]


def open_images(folder: Path) -> Images:
    """A cached split. Raises TadropError if its files do not belong together."""
    try:
        images = _opened(folder)
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError):
        images = None
    if images is None:
        raise TadropError(
            f"{folder}: the cached images are damaged; delete this folder"
        )
    return images


def _opened(folder: Path) -> Images | None:
    """A cached split; None where its files do not belong together."""
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    shape = (facts["count"], facts["size"], facts["size"], 3)
    file = folder / "images.u8"
    labels = np.load(folder / "labels.npy", allow_pickle=False)
    if file.stat().st_size != prod(shape) or labels.shape != shape[:1]:
        return None
    if not len(labels):
        return Images(np.zeros(shape, np.uint8), labels, facts)
    return Images(np.memmap(file, np.uint8, "r", shape=shape), labels, facts)


class Row(NamedTuple):
    """An encoded image and its label. file: where it lies, for one in a file alone."""

    data: bytes
    label: int
    file: str = ""


class _NoImageError(Exception):
    """Some bytes are no image, for the reason that is told."""


def build(
    folder: Path,
    rows: Iterable[Row],
    size: int,
    resize: str,
    facts: Mapping[str, Any],
) -> None:
    """Makes a cached split from encoded images.

    It is written beside the folder and renamed: an interrupted build leaves nothing
    that looks finished.
    """
    if resize not in RESIZES:
        raise TadropError(
            f"preprocess.resize is {resize!r}; it must be {' or '.join(RESIZES)}"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with building(folder) as temporary:
        _write(temporary, rows, size, resize, facts)
        # Another process may have made the same meanwhile.
        if not (folder / FACTS).exists():
            temporary.rename(folder)


def _write(
    folder: Path,
    rows: Iterable[Row],
    size: int,
    resize: str,
    facts: Mapping[str, Any],
) -> None:
    """Writes pixels, labels and facts, among them a hash of both, into a folder."""
    digest, labels = hashlib.sha256(), []
    with (folder / "images.u8").open("wb") as file:
        for image, label in _told_apart(_prepared(rows, size, resize), facts):
            pixels = image.tobytes()
            digest.update(pixels)
            file.write(pixels)
            labels.append(label)
    array = np.asarray(labels, np.int64)
    digest.update(array.tobytes())
    np.save(folder / "labels.npy", array)
    fingerprint = digest.hexdigest()[:16]
    counted = {"count": len(labels), "size": size, "fingerprint": fingerprint}
    text = json.dumps({**facts, **counted}, ensure_ascii=False, indent=1)
    write_text(folder / FACTS, text)


def _told_apart(
    prepared: Iterator[tuple[np.ndarray, int]], facts: Mapping[str, Any]
) -> Iterator[tuple[np.ndarray, int]]:
    """The same; an error says of which split, and the how manieth, the image is."""
    for number in count():
        try:
            yield next(prepared)
        except StopIteration:
            return
        except _NoImageError as error:
            place = f"{facts.get('source')}, split {facts.get('split')!r}"
            raise TadropError(f"{place}, image {number}: {error}") from error


def _prepared(
    rows: Iterable[Row], size: int, resize: str
) -> Iterator[tuple[np.ndarray, int]]:
    """Decodes in threads (PIL lets go of the interpreter), in order, by chunks."""
    rows = iter(rows)
    ready = partial(_ready, size=size, resize=resize)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(rows, CHUNK)):
            yield from pool.map(ready, chunk)


def _ready(row: Row, size: int, resize: str) -> tuple[np.ndarray, int]:
    data, label, file = row
    try:
        return prepare(_decode(data), size, resize), label
    except _NoImageError as error:
        if file:
            raise TadropError(f"{file}: {error}") from error
        raise


def _decode(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    # PIL's exceptions are of many kinds; to the user they all mean the same.
    except Exception as error:
        raise _NoImageError(
            f"its {len(data)} bytes cannot be decoded as an image ({error})"
        ) from error
    return image
