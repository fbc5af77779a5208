"""The training loop of base and tasks."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import Tensor

from experiments.glyphs.recipe import BATCH, BaseRecipe, TaskRecipe
from experiments.training import optimise
from tadrop.models.glyph_vit import GlyphViT
from tadrop.numerics.seeds import generator
from tadrop.storage.files import write_tensors

SAID = 200  # steps between two lines of progress


def save(path: Path, model: GlyphViT, facts: Mapping[str, object]) -> None:
    """Writes a model as float16 safetensors, atomically, with facts as metadata."""
    half: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        half[name] = tensor.half().contiguous()
    write_tensors(path, half, {key: str(value) for key, value in facts.items()})


def tensors(images: np.ndarray) -> Tensor:
    """uint8 [n, 28, 28] -> float32 [n, 1, 28, 28] in [-1, 1]."""
    return torch.from_numpy(images).float().div_(127.5).sub_(1).unsqueeze(1)


def batches(count: int, steps: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Indices of `steps` batches, epoch after epoch in a new order."""
    per_epoch = count // BATCH
    order = torch.empty(0)
    for step in range(steps):
        start = step % per_epoch * BATCH
        if start == 0:
            order = torch.from_numpy(rng.permutation(count))
        yield order[start : start + BATCH]


def train(
    model: GlyphViT,
    losses: Iterator[Tensor],
    recipe: BaseRecipe | TaskRecipe,
    name: str,
) -> float:
    """Trains what requires a gradient; returns the mean loss of the last steps.

    losses: of each step, computed as they are asked for
    """
    seen: list[float] = []

    def on_step(loss: float) -> None:
        seen.append(loss)
        if len(seen) % SAID == 0:
            print(
                f"{name}: step {len(seen)}, loss {_recent(seen):.3f}", file=sys.stderr
            )

    optimise(
        [each for each in model.parameters() if each.requires_grad],
        losses,
        recipe.steps,
        {"rate": recipe.rate, "decay": recipe.decay},
        name,
        on_step=on_step,
        kind=recipe.optimizer,
    )
    return _recent(seen)


def _recent(losses: Sequence[float]) -> float:
    return mean(losses[-SAID:])


def drawn(
    images: np.ndarray, labels: np.ndarray, steps: int, *words: str | int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of pixels, [BATCH, 1, 28, 28] in [-1, 1], and labels [BATCH].

    The words decide their order.
    """
    targets = torch.from_numpy(labels)
    for batch in batches(len(images), steps, generator("train_glyphs", *words)):
        yield tensors(images[batch.numpy()]), targets[batch]
