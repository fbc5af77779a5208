"""Regenerates the embedded checkpoints: a base, and one fine-tuned glyph_vit per glyph
task.

    python -m experiments.train_glyphs --out DIR [--tasks greek_lower arabic] [--workers
    2]

The base learns to name characters that belong to no task. Each task then gets a linear
head, fitted on the base's features of clean renderings of its characters (what CLIP's
class-name prompts are to its zero-shot heads) and frozen, and the encoder is
fine-tuned. A file that exists is kept, so an interrupted run goes on where it stopped.
Every model is trained in a process with one thread: its bits do not depend on how many
run side by side.
"""

import argparse
import math
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from tadrop.models.glyph_vit import GlyphViT
from tadrop.numerics.seeds import generator
from tadrop.storage.checkpoint import MANIFEST, sha256
from tadrop.storage.files import write_tensors, write_text
from tadrop.tasks import glyphs
from tadrop.tasks.drawing.families import FAMILIES, HANDWRITTEN, NAMES, PRETRAINING
from tadrop.tasks.drawing.rendering import Family, render

BASE = {"steps": 2600, "images": 30_000, "rate": 1e-3, "decay": 0.05}
TASK = {"steps": 250, "rate": 3e-4, "decay": 0.01}
BATCH = 128
PROMPTS = 30  # clean renderings per class that a head is fitted on


def tensors(images: np.ndarray) -> Tensor:
    """uint8 [n, 28, 28] -> float32 [n, 1, 28, 28] in [-1, 1]."""
    return torch.from_numpy(images).float().div_(127.5).sub_(1).unsqueeze(1)


def batches(count: int, steps: int, rng: np.random.Generator) -> Iterable[Tensor]:
    """Indices of `steps` batches, epoch after epoch in a new order."""
    per_epoch = count // BATCH
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.from_numpy(rng.permutation(count))
        at = step % per_epoch * BATCH
        yield order[at : at + BATCH]


def train(
    model: GlyphViT,
    images: Tensor,
    labels: Tensor,
    steps: int,
    rate: float,
    decay: float,
    words: str,
) -> None:
    """AdamW, a tenth of the steps as warm-up, cosine to zero, gradient clip 1. Trains
    what requires a gradient.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min(
            (i + 1) / (0.1 * steps), 0.5 * (1 + math.cos(math.pi * i / steps))
        ),
    )
    for batch in batches(len(images), steps, generator("train_glyphs", words)):
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{words}: the loss is {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()


def clean(task: str) -> Family:
    """The task's characters in the base's plain look: turned and mirrored as the task
    is, but nothing else of it.
    """
    family = FAMILIES["digits" if task == HANDWRITTEN else task]
    turned = (
        {}
        if task == HANDWRITTEN
        else {"turn": family.look.turn, "mirror": family.look.mirror}
    )
    return replace(family, look=replace(PRETRAINING.look, **turned))


@torch.inference_mode()
def features(model: GlyphViT, images: Tensor) -> Tensor:
    return torch.cat([model.features(part) for part in images.split(500)])


def fit_head(model: GlyphViT, task: str) -> tuple[Tensor, Tensor]:
    """Logistic regression with a small ridge on the base's features of clean
    renderings: weight [c, w], bias [c].
    """
    family, rng = clean(task), generator("train_glyphs", "head", task)
    count = len(family.chars)
    labels = rng.permutation(np.arange(count * PROMPTS) % count)
    x = features(model, tensors(render(family, labels, "train", rng))).clone()
    mean, deviation = x.mean(0), x.std(0)
    x, y = (x - mean) / deviation, torch.from_numpy(labels)
    weight = torch.zeros(count, x.shape[1], requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=100, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, y) + 1e-3 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    weight = weight.detach() / deviation
    return weight, bias.detach() - weight @ mean


def accuracy(model: GlyphViT, task: str, split: str) -> float:
    images, labels = glyphs.generate(task, split)
    with torch.inference_mode():
        hits = [model(part).argmax(1) for part in tensors(images).split(500)]
    return float((torch.cat(hits) == torch.from_numpy(labels)).double().mean())


def save(path: Path, state: dict[str, Tensor], metadata: dict[str, object]) -> None:
    """Float16 safetensors, written atomically."""
    half = {name: tensor.half().contiguous() for name, tensor in state.items()}
    write_tensors(path, half, {key: str(value) for key, value in metadata.items()})


def train_base(path: Path) -> float:
    """Trains and saves the base, without a head; returns the seconds it took."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    family, rng = PRETRAINING, generator("train_glyphs", "base")
    labels = rng.permutation(np.arange(BASE["images"]) % len(family.chars))
    halves = np.split(labels, 2)
    looks = (family, replace(family, look=replace(family.look, invert=True)))
    images = np.concatenate(
        [
            render(look, half, "train", rng)
            for look, half in zip(looks, halves, strict=True)
        ]
    )
    model = GlyphViT(len(family.chars))
    train(
        model,
        tensors(images),
        torch.from_numpy(labels),
        BASE["steps"],
        BASE["rate"],
        BASE["decay"],
        "base",
    )
    encoder = {n: t for n, t in model.state_dict().items() if not n.startswith("head.")}
    seconds = time.perf_counter() - start
    save(
        path,
        encoder,
        {"recipe": BASE, "seconds": round(seconds), "classes": len(family.chars)},
    )
    return seconds


def train_task(base: Path, path: Path, task: str) -> tuple[str, float, float]:
    """Fine-tunes and saves one task; returns its name, validation accuracy and seconds."""
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    model = GlyphViT(len(glyphs.classes(task)))
    model.load_state_dict(
        {n: t.float() for n, t in load_file(base).items()}, strict=False
    )
    weight, bias = fit_head(model, task)
    model.head.weight.data, model.head.bias.data = weight, bias
    model.head.requires_grad_(False)
    images, labels = glyphs.generate(task, "train")
    train(
        model,
        tensors(images),
        torch.from_numpy(labels),
        TASK["steps"],
        TASK["rate"],
        TASK["decay"],
        task,
    )
    value, seconds = accuracy(model, task, "validation"), time.perf_counter() - start
    save(
        path,
        model.state_dict(),
        {"recipe": TASK, "seconds": round(seconds), "validation_accuracy": value},
    )
    return task, value, seconds


def write_manifest(folder: Path) -> None:
    lines = [
        f"{sha256(path)}  {path.name}" for path in sorted(folder.glob("*.safetensors"))
    ]
    write_text(folder / MANIFEST, "\n".join(lines) + "\n")


CARD = """# The embedded checkpoints

A base and thirty fine-tuned vision transformers ([the architecture](../../backbones/glyph_vit.py)), float16
safetensors, made by `python -m experiments.train_glyphs --out DIR` from [the glyph tasks](../../tasks/glyphs.py).
Nothing was
downloaded: images are drawn from the typefaces inside matplotlib, and one task is scikit-learn's handwritten digits.

- **Base** `base.safetensors`: trained to name {classes} characters that belong to no task, drawn plainly in both
  polarities. {base}
- **Tasks**: a linear head fitted by logistic regression on the base's features of clean renderings of the task's
  characters, then frozen (`head.weight`, `head.bias`); the encoder fine-tuned on {images} stylised images. {task}
- AdamW, batch {batch}, a tenth of the steps as warm-up, cosine to zero, gradient clip 1, one thread per model.
- Licence: that of the suite. Not for reading text: they exist to be merged.

Accuracy below is on the validation split, in percent; `SHA256SUMS` is checked whenever a file is loaded.

| task | classes | validation accuracy | seconds to train |
|:--|--:|--:|--:|
{rows}
"""


def write_card(folder: Path) -> None:
    """The model card, from what the files say of themselves."""
    facts = {
        path.stem: _metadata(path) for path in sorted(folder.glob("*.safetensors"))
    }
    base = facts.pop("base")
    rows = [
        f"| {task} | {len(glyphs.classes(task))} | {100 * float(fact['validation_accuracy']):.1f} | {fact['seconds']} |"
        for task, fact in facts.items()
    ]
    text = CARD.format(
        classes=base["classes"],
        base=f"Recipe: `{base['recipe']}`, {base['seconds']} s.",
        task=f"Recipe: `{next(iter(facts.values()))['recipe']}`.",
        images=glyphs.SPLITS["train"],
        batch=BATCH,
        rows="\n".join(rows),
    )
    write_text(folder / "README.md", text)


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for base.safetensors and one file a task",
    )
    parser.add_argument(
        "--tasks", nargs="*", default=NAMES, choices=NAMES, metavar="TASK"
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="models trained side by side"
    )
    options = parser.parse_args()
    base = options.out / "base.safetensors"
    owed = [
        task
        for task in options.tasks
        if not (options.out / f"{task}.safetensors").exists()
    ]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        if not base.exists():
            print(f"base: {BASE['steps']} steps, about 10 minutes ...", flush=True)
            print(f"base: {pool.submit(train_base, base).result():.0f} s", flush=True)
        jobs = [
            pool.submit(train_task, base, options.out / f"{task}.safetensors", task)
            for task in owed
        ]
        for job in track(
            as_completed(jobs), description="fine-tuning", total=len(jobs)
        ):
            task, value, seconds = job.result()
            print(
                f"{task}: validation accuracy {value:.3f}, {seconds:.0f} s", flush=True
            )
    write_manifest(options.out)
    write_card(options.out)


if __name__ == "__main__":
    main()
