"""The base of the embedded checkpoints.

It learns to name every character that any family has, and many that none has, in looks
that belong to no task: what photographs with captions are to CLIP. Its classifier's rows
are the heads of the tasks, as CLIP's heads are the embeddings of class names.
"""

from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.glyphs.loop import drawn, save, train
from experiments.glyphs.recipe import BaseRecipe
from tadrop.models.glyph_vit import GlyphViT
from tadrop.numerics.seeds import generator
from tadrop.tasks.drawing.families import FAMILIES, PRETRAINING
from tadrop.tasks.drawing.rendering import Family, Look, render

BACKGROUNDS = ("flat", "ramp", "stripes", "checks", "blobs")
NOISES = (5, 18)


def alphabet() -> list[str]:
    """The characters that the base names, in the order of its classifier's rows."""
    characters: dict[str, None] = {}
    for family in _families():
        characters |= dict.fromkeys(family.chars)
    return list(characters)


def _families() -> list[Family]:
    return [*FAMILIES.values(), PRETRAINING]


def looks() -> list[Look]:
    """Each background in both polarities, with little and with more noise."""
    found: list[Look] = []
    for background, invert, noise in product(BACKGROUNDS, (False, True), NOISES):
        look = replace(
            PRETRAINING.look, background=background, invert=invert, noise=noise
        )
        found.append(look)
    return found


def images(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """About `count` images, [count, SIZE, SIZE] uint8, and which characters they show.

    Every character is shown about equally often, in every look.
    """
    rows = {character: row for row, character in enumerate(alphabet())}
    families = _families()
    characters = sum(len(family.chars) for family in families)
    each = count / characters / len(looks())
    drawn: list[np.ndarray] = []
    shown: list[np.ndarray] = []
    for family, look in product(families, looks()):
        share = round(each * len(family.chars))
        labels = rng.permutation(np.arange(share) % len(family.chars))
        drawn.append(render(replace(family, look=look), labels, "train", rng))
        shown.append(np.array([rows[family.chars[label]] for label in labels]))
    return np.concatenate(drawn), np.concatenate(shown)


def train_base(path: Path, recipe: BaseRecipe, seed: int) -> None:
    """Trains and saves the base, with its classifier (head.*), as float16 safetensors."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = GlyphViT(len(alphabet()))
    loss = train(model, _losses(model, recipe, seed), recipe, "base")
    facts = {"recipe": asdict(recipe), "seed": seed, "classes": len(alphabet())}
    save(path, model, facts | {"loss": f"{loss:.3f}"})


def _losses(model: GlyphViT, recipe: BaseRecipe, seed: int) -> Iterator[Tensor]:
    pictures = images(recipe.images, generator("train_glyphs", "base", seed))
    for pixels, targets in drawn(*pictures, recipe.steps, "base", seed):
        yield F.cross_entropy(model(pixels), targets)
