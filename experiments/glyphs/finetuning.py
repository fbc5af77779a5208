"""One fine-tuned model a task of the embedded checkpoints."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.glyphs.base import alphabet, images
from experiments.glyphs.loop import drawn, save, tensors, train
from experiments.glyphs.recipe import TaskRecipe
from tadrop.models.glyph_vit import GlyphViT
from tadrop.numerics.seeds import generator
from tadrop.tasks import glyphs

HEAD = ("head.weight", "head.bias")
REHEARSAL = 24_000  # images of the base's that are at hand to be seen again


def started(base: Path, task: str) -> GlyphViT:
    """The base with a task's head: the rows of its classifier for the task's characters.

    The head is frozen.
    """
    from safetensors.torch import load_file

    state = {name: tensor.float() for name, tensor in load_file(base).items()}
    known = alphabet()
    rows = [known.index(character) for character in glyphs.classes(task)]
    for name in HEAD:
        state[name] = state[name][rows]
    model = GlyphViT(len(rows))
    model.load_state_dict(state)
    return model


def freeze(model: GlyphViT, prefixes: tuple[str, ...]) -> None:
    """Tensors whose names start so, and the head's, stay as they are."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith((*prefixes, "head")))


@cache
def rehearsal(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The images of the base's that fine-tuning sees again."""
    return images(REHEARSAL, generator("train_glyphs", "rehearsal", seed))


def losses(
    model: GlyphViT, base: Path, task: str, recipe: TaskRecipe, seed: int
) -> Iterator[Tensor]:
    """The loss of each step: of the task's images, and of those rehearsed."""
    pictures = glyphs.generate(task, "train")
    own = drawn(*pictures, recipe.steps, task, seed)
    if not recipe.rehearsed:
        for pixels, targets in own:
            yield F.cross_entropy(model(pixels) / recipe.temperature, targets)
        return
    whole = base_head(base)
    again = drawn(*rehearsal(seed), recipe.steps, "rehearsal", task, seed)
    for (pixels, targets), (others, characters) in zip(own, again, strict=True):
        others, characters = others[: recipe.rehearsed], characters[: recipe.rehearsed]
        features = model.features(torch.cat([pixels, others]))
        logits = model.head(features[: len(pixels)]) / recipe.temperature
        kept = F.linear(features[len(pixels) :], *whole)
        share = len(others) / len(features)
        learnt = F.cross_entropy(logits, targets)
        yield (1 - share) * learnt + share * F.cross_entropy(kept, characters)


def base_head(base: Path) -> tuple[Tensor, Tensor]:
    """The base's whole classifier: weight [character, width] and bias [character]."""
    from safetensors.torch import load_file

    state = load_file(base)
    return state["head.weight"].float(), state["head.bias"].float()


@torch.inference_mode()
def accuracy(model: GlyphViT, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of the images that the model names."""
    logits = torch.cat(list(map(model, tensors(images).split(500))))
    hits = logits.argmax(1) == torch.from_numpy(labels)
    return float(hits.double().mean())


def train_task(
    base: Path, path: Path, task: str, recipe: TaskRecipe, seed: int
) -> tuple[str, float, float]:
    """Fine-tunes and saves one task, as float16 safetensors.

    Returns its name, its validation accuracy and the seconds it took.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    start = time.perf_counter()
    model = started(base, task)
    freeze(model, recipe.frozen)
    held_out = glyphs.generate(task, "validation")
    before = accuracy(model, *held_out)
    train(model, losses(model, base, task, recipe, seed), recipe, task)
    after = accuracy(model, *held_out)
    seconds = time.perf_counter() - start
    facts: dict[str, object] = {
        "recipe": asdict(recipe),
        "seed": seed,
        "seconds": round(seconds),
        "base_validation_accuracy": before,
        "validation_accuracy": after,
    }
    save(path, model, facts)
    return task, after, seconds
