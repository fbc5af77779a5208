"""A model's folder measured on data: perplexity of a text, or accuracy on images.

A text is a file; it is cut into blocks of tokens, each read on its own. Images lie in
one folder a class, named as the model calls its classes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tadrop.app.judging import loading
from tadrop.app.judging.asked import check_data
from tadrop.storage.bars import bar
from tadrop.storage.checkpoint import first_line
from tadrop.types import TadropError

PERPLEXITY, ACCURACY = "perplexity", "accuracy"
LENGTH = 512  # tokens of a block, where the model takes so many
BATCH = 16  # images at a time
SHOWN = "measure"  # what bars call it
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class Measured:
    """What a model reaches.

    values: one an example, higher is better: the mean log-likelihood of a block's
            tokens in nats, or 1 for an image that is named rightly
    """

    metric: str
    values: np.ndarray

    @property
    def score(self) -> float:
        """The mean of the values, which is what is compared."""
        return float(self.values.mean())

    def shown(self) -> str:
        """As people read it: perplexity, or accuracy in percent."""
        if self.metric == PERPLEXITY:
            return f"{math.exp(-self.score):.3f}"
        return f"{100 * self.score:.2f}"


def measure(folder: Path, data: Path, speaker: Path, limit: int) -> Measured:
    """Measures the model in a folder.

    data:    a text file, or a folder of images by class
    speaker: the folder whose tokenizer or processor all compared models share
    limit:   the most examples
    Raises TadropError for data or models that do not fit.
    """
    check_data(data, limit)
    with torch.no_grad():
        if data.is_dir():
            return Measured(ACCURACY, _images(folder, data, speaker, limit))
        return Measured(PERPLEXITY, _text(folder, data, speaker, limit))


def _text(folder: Path, file: Path, speaker: Path, limit: int) -> np.ndarray:
    tokenizer = loading.tokenizer(speaker)
    text = file.read_text(encoding="utf-8", errors="replace")
    tokens = tokenizer(text, return_tensors="pt", verbose=False)["input_ids"][0]
    if len(tokens) < 2:
        raise TadropError(
            f"{file}: the tokenizer of {speaker} makes {len(tokens)} tokens of it, and "
            "two are the fewest that have a perplexity"
        )
    step = _block_of(speaker)
    model = loading.language_model(folder)
    _check_alike(model, folder, speaker, step, int(tokens.max()))
    blocks = tokens.long().split(step)[:limit]
    tick = bar(SHOWN, len(blocks))
    values: list[float] = []
    for block in blocks:
        if len(block) > 1:
            loss = model(input_ids=block[None], labels=block[None]).loss
            values.append(-float(loss))
        tick()
    return np.array(values)


def _check_alike(
    model: Any, folder: Path, speaker: Path, step: int, token: int
) -> None:
    """Raises TadropError for a model that cannot read blocks of the speaker's tokens.

    step: the tokens of a block; token: the largest of them
    """
    longest = getattr(model.config, "max_position_embeddings", None) or step
    if longest < step:
        raise TadropError(
            f"{folder}: reads {longest} tokens at once and {speaker} reads {step}; "
            "compare models of one length"
        )
    rows = model.get_input_embeddings().weight.shape[0]
    if token >= rows:
        raise TadropError(
            f"{folder}: has {rows} rows, and the tokenizer of {speaker} names "
            f"token {token}; compare models of one vocabulary"
        )


def _block_of(speaker: Path) -> int:
    """How many tokens all compared models read at once: what the speaker's takes."""
    longest = getattr(loading.config(speaker), "max_position_embeddings", None)
    return min(LENGTH, longest or LENGTH)


def _images(folder: Path, data: Path, speaker: Path, limit: int) -> np.ndarray:
    processor = loading.processor(speaker)
    batches = list(_batches(data, limit))
    if not batches:
        raise TadropError(f"{data}: holds no folders with images")
    model = loading.classifier(folder)
    numbers = {str(name): int(one) for name, one in model.config.label2id.items()}
    tick = bar(SHOWN, len(batches))
    values: list[float] = []
    for label, paths in batches:
        if label not in numbers:
            raise TadropError(
                f"{data / label}: {folder} has no class {label!r}; it has "
                f"{', '.join(list(numbers)[:9])}"
            )
        inputs = processor(list(map(_picture, paths)), return_tensors="pt")
        right = model(**inputs).logits.argmax(-1) == numbers[label]
        values += right.float().tolist()
        tick()
    return np.array(values)


def _batches(data: Path, limit: int) -> Iterator[tuple[str, list[Path]]]:
    """Runs of images of one class, as many of each class."""
    classes = sorted(filter(Path.is_dir, data.iterdir()))
    each = max(limit // max(len(classes), 1), 1)
    for folder in classes:
        files: list[Path] = []
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in PICTURES:
                files.append(file)
        files = files[:each]
        for start in range(0, len(files), BATCH):
            yield folder.name, files[start : start + BATCH]


def _picture(file: Path) -> Any:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    # PIL's exceptions are of many kinds; to the user they all mean the same.
    except Exception as error:
        raise TadropError(f"{file}: no image ({first_line(error)})") from error
