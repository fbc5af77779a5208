"""Trained the embedded checkpoints: a base, and one glyph_vit for each glyph task.

    python -m experiments.train_glyphs --out DIR [--tasks greek_lower arabic]

It made tadrop/assets/glyph_vit, and is needed again only when the glyph tasks or the
architecture change. The base takes about ten minutes and all tasks about half an hour,
on two cores. It writes base.safetensors and one file a task to DIR, with SHA256SUMS and
a card (README.md).

The base learns to name characters that belong to no task. Each task then gets a linear
head, fitted on the base's features of clean renderings of its characters (what CLIP's
class-name prompts are to its zero-shot heads) and frozen, and the encoder is
fine-tuned. A file that exists is kept, so an interrupted run goes on where it stopped.
Every model is trained in a process with one thread, so its bits do not depend on how
many run side by side.
"""

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from experiments.glyph_card import write_card
from experiments.training import Rates, optimise
from tadrop.app.terminal.entry import enter
from tadrop.models.glyph_vit import GlyphViT
from tadrop.numerics.seeds import generator
from tadrop.storage.checkpoint import MANIFEST, sha256
from tadrop.storage.files import write_tensors, write_text
from tadrop.tasks import glyphs
from tadrop.tasks.drawing.families import FAMILIES, HANDWRITTEN, NAMES, PRETRAINING
from tadrop.tasks.drawing.rendering import Family, render


class BaseSettings(Rates):
    """How the base is trained; in the order in which its file says it."""

    steps: int
    images: int


class TaskSettings(Rates):
    """How a task's model is fine-tuned."""

    steps: int


BASE: BaseSettings = {"steps": 2600, "images": 30_000, "rate": 1e-3, "decay": 0.05}
TASK: TaskSettings = {"steps": 250, "rate": 3e-4, "decay": 0.01}
BATCH = 128
PROMPTS = 30  # clean renderings per class that a head is fitted on
RIDGE = 1e-3


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
    settings: BaseSettings | TaskSettings,
    name: str,
) -> None:
    """Trains what requires a gradient. The name decides the order of the images."""
    inputs, targets = tensors(images), torch.from_numpy(labels)
    steps = settings["steps"]

    def losses() -> Iterator[Tensor]:
        for batch in batches(len(inputs), steps, generator("train_glyphs", name)):
            yield F.cross_entropy(model(inputs[batch]), targets[batch])

    trained = filter(_is_trained, model.parameters())
    optimise(trained, losses(), steps, settings, name)


def _is_trained(parameter: Tensor) -> bool:
    return parameter.requires_grad


def clean(task: str) -> Family:
    """The task's characters in the base's plain look.

    They are turned and mirrored as the task's are; nothing else of its look is kept.
    """
    if task == HANDWRITTEN:
        return replace(FAMILIES["digits"], look=PRETRAINING.look)
    family = FAMILIES[task]
    look = replace(PRETRAINING.look, turn=family.look.turn, mirror=family.look.mirror)
    return replace(family, look=look)


@torch.inference_mode()
def features(model: GlyphViT, images: Tensor) -> Tensor:
    """What the model hands to its head, [image, width]."""
    return torch.cat(list(map(model.features, images.split(500))))


def fit_head(model: GlyphViT, task: str) -> tuple[Tensor, Tensor]:
    """A task's head: weight [class, width] and bias [class].

    It is fitted by logistic regression with a small ridge on the base's features of
    clean renderings.
    """
    family, rng = clean(task), generator("train_glyphs", "head", task)
    count = len(family.chars)
    labels = rng.permutation(np.arange(count * PROMPTS) % count)
    images = render(family, labels, "train", rng)
    inputs = features(model, tensors(images)).clone()
    mean, deviation = inputs.mean(0), inputs.std(0)
    inputs = (inputs - mean) / deviation
    targets = torch.from_numpy(labels)
    weight = torch.zeros(count, inputs.shape[1], requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=100, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        error = F.cross_entropy(inputs @ weight.T + bias, targets)
        value = error + RIDGE * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    weight = weight.detach() / deviation
    return weight, bias.detach() - weight @ mean


@torch.inference_mode()
def accuracy(model: GlyphViT, task: str, split: str) -> float:
    """The share of a task's images that the model names."""
    images, labels = glyphs.generate(task, split)
    logits = torch.cat(list(map(model, tensors(images).split(500))))
    hits = logits.argmax(1) == torch.from_numpy(labels)
    return float(hits.double().mean())


def save(path: Path, state: dict[str, Tensor], metadata: dict[str, object]) -> None:
    """Writes float16 safetensors, atomically."""
    half = {name: tensor.half().contiguous() for name, tensor in state.items()}
    words = {key: str(value) for key, value in metadata.items()}
    write_tensors(path, half, words)


def base_images(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What the base is trained on: half of it dark on light, half light on dark."""
    labels = rng.permutation(np.arange(BASE["images"]) % len(PRETRAINING.chars))
    inverted = replace(PRETRAINING, look=replace(PRETRAINING.look, invert=True))
    parts: list[np.ndarray] = []
    halves = np.split(labels, 2)
    for family, half in zip((PRETRAINING, inverted), halves, strict=True):
        parts.append(render(family, half, "train", rng))
    return np.concatenate(parts), labels


def train_base(path: Path) -> float:
    """Trains and saves the base, without a head; returns the seconds it took."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    images, labels = base_images(generator("train_glyphs", "base"))
    classes = len(PRETRAINING.chars)
    model = GlyphViT(classes)
    train(model, images, labels, BASE, "base")
    encoder: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if not name.startswith("head."):
            encoder[name] = tensor
    seconds = time.perf_counter() - start
    facts = {"recipe": BASE, "seconds": round(seconds), "classes": classes}
    save(path, encoder, facts)
    return seconds


def train_task(base: Path, path: Path, task: str) -> tuple[str, float, float]:
    """Fine-tunes and saves one task; returns its name,
    validation accuracy and seconds.
    """
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    model = GlyphViT(len(glyphs.classes(task)))
    state = {name: tensor.float() for name, tensor in load_file(base).items()}
    model.load_state_dict(state, strict=False)
    model.head.weight.data, model.head.bias.data = fit_head(model, task)
    model.head.requires_grad_(False)
    images, labels = glyphs.generate(task, "train")
    train(model, images, labels, TASK, task)
    value = accuracy(model, task, "validation")
    seconds = time.perf_counter() - start
    facts = {"recipe": TASK, "seconds": round(seconds), "validation_accuracy": value}
    save(path, model.state_dict(), facts)
    return task, value, seconds


def write_manifest(folder: Path) -> None:
    """Writes SHA256SUMS of the folder's checkpoints."""
    lines: list[str] = []
    for path in sorted(folder.glob("*.safetensors")):
        lines.append(f"{sha256(path)}  {path.name}")
    write_text(folder / MANIFEST, "\n".join(lines) + "\n")


def main() -> None:
    """Trains what is not there yet, then writes the sums and the card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the folder to write to"
    )
    parser.add_argument(
        "--tasks", nargs="*", default=NAMES, choices=NAMES, metavar="TASK"
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="models trained side by side"
    )
    options = parser.parse_args()
    base = options.out / "base.safetensors"
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        if not base.exists():
            print(f"base: {BASE['steps']} steps, about 10 minutes ...", flush=True)
            print(f"base: {pool.submit(train_base, base).result():.0f} s", flush=True)
        jobs = []
        for task in options.tasks:
            path = options.out / f"{task}.safetensors"
            if not path.exists():
                jobs.append(pool.submit(train_task, base, path, task))
        ended = track(as_completed(jobs), description="fine-tuning", total=len(jobs))
        for job in ended:
            task, value, seconds = job.result()
            print(
                f"{task}: validation accuracy {value:.3f}, {seconds:.0f} s", flush=True
            )
    write_manifest(options.out)
    write_card(options.out, BATCH)


if __name__ == "__main__":
    enter()
    main()
