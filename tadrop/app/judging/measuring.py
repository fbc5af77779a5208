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

from tadrop.storage.checkpoint import first_line
from tadrop.types import TadropError

PERPLEXITY, ACCURACY = "perplexity", "accuracy"
LENGTH = 512  # tokens of a block, where the model takes so many
BATCH = 16  # images at a time
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
    with torch.no_grad():
        if data.is_file():
            return Measured(PERPLEXITY, _text(folder, data, speaker, limit))
        if data.is_dir():
            return Measured(ACCURACY, _images(folder, data, speaker, limit))
    raise TadropError(f"{data}: no such text file, or folder of images by class")


def _loaded(kind: str, folder: Path, what: str) -> Any:
    """Something of transformers from a folder, in one line of error where it fails."""
    import transformers

    try:
        loader = getattr(transformers, kind)
        return loader.from_pretrained(str(folder), local_files_only=True)
    # The library's exceptions are of many kinds; to the user they mean the same.
    except Exception as error:
        raise TadropError(f"{folder}: no {what} ({first_line(error)})") from error


def _text(folder: Path, file: Path, speaker: Path, limit: int) -> np.ndarray:
    tokenizer = _loaded("AutoTokenizer", speaker, "tokenizer is here")
    text = file.read_text(encoding="utf-8", errors="replace")
    tokens = tokenizer(text, return_tensors="pt", verbose=False)["input_ids"][0]
    model = _loaded("AutoModelForCausalLM", folder, "language model is here").eval()
    longest = getattr(model.config, "max_position_embeddings", None) or LENGTH
    step = min(LENGTH, longest)
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokens) < 2:
        raise TadropError(f"{file}: holds no two tokens")
    if int(tokens.max()) >= rows:
        raise TadropError(
            f"{folder}: has {rows} rows, and the tokenizer of {speaker} names "
            f"token {int(tokens.max())}; compare models of one vocabulary"
        )
    values: list[float] = []
    for block in tokens.split(step)[:limit]:
        if len(block) > 1:
            loss = model(input_ids=block[None], labels=block[None]).loss
            values.append(-float(loss))
    return np.array(values)


def _images(folder: Path, data: Path, speaker: Path, limit: int) -> np.ndarray:
    processor = _loaded("AutoImageProcessor", speaker, "image processor is here")
    model = _loaded(
        "AutoModelForImageClassification", folder, "image classifier is here"
    ).eval()
    numbers = {str(name): int(one) for name, one in model.config.label2id.items()}
    values: list[float] = []
    for label, paths in _batches(data, limit):
        if label not in numbers:
            raise TadropError(
                f"{data / label}: {folder} has no class {label!r}; it has "
                f"{', '.join(list(numbers)[:9])}"
            )
        inputs = processor(list(map(_picture, paths)), return_tensors="pt")
        right = model(**inputs).logits.argmax(-1) == numbers[label]
        values += right.float().tolist()
    if not values:
        raise TadropError(f"{data}: holds no folders with images")
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
