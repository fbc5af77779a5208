"""One fine-tuned model a task of the embedded checkpoints."""

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.glyphs.base import alphabet
from experiments.glyphs.loop import tensors, train
from experiments.glyphs.recipe import TaskRecipe
from tadrop.models.glyph_vit import GlyphViT
from tadrop.storage.files import write_tensors
from tadrop.tasks import glyphs

HEAD = ("head.weight", "head.bias")


def started(base: Path, task: str) -> GlyphViT:
    """The base with a task's head: the rows of its classifier for the task's characters.

    The head is frozen.
    """
    from safetensors.torch import load_file

    state = {name: tensor.float() for name, tensor in load_file(base).items()}
    rows = [alphabet().index(character) for character in glyphs.classes(task)]
    for name in HEAD:
        state[name] = state[name][rows]
    model = GlyphViT(len(rows))
    model.load_state_dict(state)
    return model


def freeze(model: GlyphViT, prefixes: tuple[str, ...]) -> None:
    """Tensors whose names start so, and the head's, stay as they are."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith((*prefixes, "head")))


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
    images, labels = glyphs.generate(task, "train")
    train(model, images, labels, recipe, (task, seed))
    after = accuracy(model, *held_out)
    seconds = time.perf_counter() - start
    facts: dict[str, object] = {
        "recipe": asdict(recipe),
        "seed": seed,
        "seconds": round(seconds),
        "base_validation_accuracy": before,
        "validation_accuracy": after,
    }
    half: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        half[name] = tensor.half().contiguous()
    write_tensors(path, half, {key: str(value) for key, value in facts.items()})
    return task, after, seconds
