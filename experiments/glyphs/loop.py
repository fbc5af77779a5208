"""The training loop of base and tasks."""

import math
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.glyphs.recipe import BATCH, BaseRecipe, TaskRecipe
from experiments.training import optimise
from tadrop.models.glyph_vit import GlyphViT
from tadrop.numerics.seeds import generator


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
    images: np.ndarray,
    labels: np.ndarray,
    recipe: BaseRecipe | TaskRecipe,
    name: Sequence[str | int],
) -> list[float]:
    """Trains what requires a gradient; returns the loss of every step.

    The name decides the order of the images.
    """
    targets = torch.from_numpy(labels)
    temperature = recipe.temperature if isinstance(recipe, TaskRecipe) else 1.0
    optimizer = recipe.optimizer if isinstance(recipe, TaskRecipe) else "adamw"

    def losses() -> Iterator[Tensor]:
        rng = generator("train_glyphs", *name)
        for batch in batches(len(images), recipe.steps, rng):
            logits = model(tensors(images[batch.numpy()]))
            yield F.cross_entropy(logits / temperature, targets[batch])

    seen: list[float] = []

    def on_step(loss: float) -> None:
        seen.append(loss)
        if len(seen) % 200 == 0:
            recent = math.fsum(seen[-200:]) / 200
            print(f"{name}: step {len(seen)}, loss {recent:.3f}", file=sys.stderr)

    trained = [each for each in model.parameters() if each.requires_grad]
    optimise(
        trained,
        losses(),
        recipe.steps,
        {"rate": recipe.rate, "decay": recipe.decay},
        str(name),
        on_step=on_step,
        kind=optimizer,
    )
    return seen
