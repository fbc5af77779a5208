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
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tadrop.storage.files import write_text
from tadrop.types import TadropError

VERSION = 1  # part of every key: raise it when the pixels change
RESIZES = ("shortest", "squash")
CHUNK = 256  # images decoded side by side before they are written


def prepare(image: Image.Image, size: int, resize: str = "shortest") -> np.ndarray:
    """uint8 [size, size, 3]. shortest: bicubic on the shorter side, centre crop;
    squash: bicubic on both sides.
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
    """One split of one task: images [n, size, size, 3] uint8 on disk, labels [n], and
    what is known of them.
    """

    images: np.ndarray
    labels: np.ndarray
    facts: Mapping[str, Any]


def open_images(folder: Path) -> Images:
    """A cached split. Raises TadropError if its files do not belong together."""
    facts = json.loads((folder / "facts.json").read_text())
    shape = (facts["count"], facts["size"], facts["size"], 3)
    file = folder / "images.u8"
    if file.stat().st_size != int(np.prod(shape)):
        raise TadropError(
            f"{folder}: the cached images are damaged; delete this folder"
        )
    return Images(
        np.memmap(file, np.uint8, "r", shape=shape),
        np.load(folder / "labels.npy"),
        facts,
    )


def cached(
    folder: Path,
    rows: Callable[[], Iterable[tuple[bytes, int]]],
    size: int,
    resize: str,
    facts: Mapping[str, Any],
) -> Images:
    """The split in this folder; made from rows of (encoded image, label) if it is not
    there yet.
    """
    if resize not in RESIZES:
        raise TadropError(
            f"preprocess.resize is {resize!r}; it must be {' or '.join(RESIZES)}"
        )
    if not (folder / "facts.json").exists():
        _build(folder, rows(), size, resize, facts)
    return open_images(folder)


def _build(
    folder: Path,
    rows: Iterable[tuple[bytes, int]],
    size: int,
    resize: str,
    facts: Mapping[str, Any],
) -> None:
    """Writes beside the target and renames: an interrupted build leaves nothing that
    looks finished.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    digest, labels = hashlib.sha256(), []
    try:
        with (temporary / "images.u8").open("wb") as out:
            for image, label in _prepared(rows, size, resize):
                data = image.tobytes()
                digest.update(data)
                out.write(data)
                labels.append(label)
        array = np.asarray(labels, np.int64)
        digest.update(array.tobytes())
        np.save(temporary / "labels.npy", array)
        more = {
            "count": len(labels),
            "size": size,
            "fingerprint": digest.hexdigest()[:16],
        }
        write_text(
            temporary / "facts.json",
            json.dumps({**facts, **more}, ensure_ascii=False, indent=1),
        )
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _prepared(
    rows: Iterable[tuple[bytes, int]], size: int, resize: str
) -> Iterator[tuple[np.ndarray, int]]:
    """Decodes in threads (PIL lets go of the interpreter), in order, a chunk at a time."""
    rows = iter(rows)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(rows, CHUNK)):
            arrays = pool.map(lambda row: prepare(_decode(row[0]), size, resize), chunk)
            yield from zip(arrays, (label for _, label in chunk), strict=True)


def _decode(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except Exception as error:  # PIL's zoo of exceptions; all mean the same to the user
        raise TadropError(
            f"an image of {len(data)} bytes cannot be decoded ({error})"
        ) from error
    return image
