"""The embedded tasks: name one of ten characters of a writing system or symbol family.

Images are drawn from the typefaces that ship inside matplotlib; one task is
scikit-learn's real handwritten digits. Every task has a look of its own (missing rows,
blur, noise, contrast, background, geometry) that the base has not seen, so that models
fine-tuned on different tasks pull a shared encoder in different directions. Faces are
held out of training where a family has eight or more; the seeds of train, validation
and test never meet.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tadrop.numerics.seeds import generator
from tadrop.storage.atomic import caching
from tadrop.storage.files import write_bytes
from tadrop.tasks.checks import check_limit, known_names
from tadrop.tasks.drawing import handwritten
from tadrop.tasks.drawing.families import DIGITS, FAMILIES, HANDWRITTEN, NAMES
from tadrop.tasks.drawing.rendering import render
from tadrop.types import Need

if TYPE_CHECKING:
    from tadrop.protocols.tasks import Tasks

# Part of every seed, and of the cache's name. To change images takes a new version:
# numbers stop being comparable. A test holds some images of every task to it.
VERSION = 2
SPLITS = {"train": 6144, "validation": 1000, "test": 1000}


def classes(task: str) -> tuple[str, ...]:
    """The class names of a task, in label order."""
    return tuple(DIGITS if task == HANDWRITTEN else FAMILIES[task].shown())


def generate(
    task: str, split: str, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The images [count, SIZE, SIZE] uint8 and labels [count] int64 of one split.

    Classes are balanced. Without a count it is that of the whole split.
    """
    count = SPLITS[split] if count is None else count
    rng = generator("glyphs", VERSION, task, split)
    if task == HANDWRITTEN:
        return handwritten.draw(split, count, rng)
    family = replace(FAMILIES[task], chars="".join(classes(task)))
    labels = rng.permutation(np.arange(count) % len(family.chars))
    return render(family, labels, split, rng), labels.astype(np.int64)


def edition() -> str:
    """The name of these images in a cache: their version, and a hash of the libraries.

    Other versions of the libraries that draw may give other pixels. Where the code lies
    is no part of the name.
    """
    import matplotlib
    import PIL
    import sklearn

    libraries = (PIL, matplotlib, np, sklearn)
    versions = "/".join(library.__version__ for library in libraries)
    return f"{VERSION}-{hashlib.sha256(versions.encode()).hexdigest()[:16]}"


@cache
def load(task: str, split: str, cache: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """A whole split: from this process's memory, the cache folder, or drawn anew.

    What is drawn anew is put into the cache folder, where there is one.
    """
    if cache is None:
        return generate(task, split)
    path = caching.place(cache / "glyphs" / edition() / f"{task}-{split}.npz")
    if not path.exists():
        images, labels = generate(task, split)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=images, labels=labels)
        write_bytes(path, buffer.getvalue())
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["images"], arrays["labels"]


@dataclass(frozen=True)
class GlyphTasks:
    """Glyph tasks as the evaluator sees them.

    limit: only the first so many images of each split
    """

    names: Sequence[str]
    limit: int | None = None
    cache: str | None = None
    batch: int = 500
    metric: str = "accuracy"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", known_names("glyph", self.names, NAMES))
        check_limit(self.limit)

    def _arrays(self, task: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        images, labels = load(task, split, Path(self.cache) if self.cache else None)
        return images[: self.limit], labels[: self.limit]

    def protocol(self) -> str:
        """The version of the images."""
        return f"glyphs-{VERSION}"

    def needs(self) -> list[Need]:
        """Nothing: the images are drawn."""
        return []

    def batches(self, task: str, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """(images [batch, 1, 28, 28] float32 in [-1, 1], labels [batch])."""
        images, labels = self._arrays(task, split)
        for start in range(0, len(images), self.batch):
            part = slice(start, start + self.batch)
            pixels = torch.from_numpy(images[part]).float().div_(127.5).sub_(1)
            yield pixels.unsqueeze(1), torch.from_numpy(labels[part])

    def grade(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where the largest logit is the label's."""
        return outputs.argmax(1) == targets

    def measure(self, task: str, split: str, kept: Tensor) -> None:
        """The mean of what is graded is the metric."""

    def fingerprint(self, task: str, split: str) -> str:
        """A hash of the images and labels themselves, 16 hex digits."""
        images, labels = self._arrays(task, split)
        return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16]


if TYPE_CHECKING:
    _family: type[Tasks] = GlyphTasks
