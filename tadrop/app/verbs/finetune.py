"""Makes a task's checkpoint: fine-tunes a backbone's encoder on one classification task
with a named recipe.

    python -m tadrop.app.verbs.finetune model=dinov2_s14 recipe=small paths.hub=DIR               all of the task set
    python -m tadrop.app.verbs.finetune model=dinov2_s14 task=dtd recipe=small recipe.optimizer=sam paths.hub=DIR
    python -m tadrop.app.verbs.finetune model=vit_b32 model.projection=frozen task=mnist          CLIP, by the hub's recipe

The head is frozen: CLIP's comes from class names, others are fitted on the base's
features of the training images. A seeded tenth of the training images is held out for
validation and never trained on. Runs resume where they stopped (DIR/NAME/.TASK.state)
with the same batches; a checkpoint that exists is kept. Beside each file, TASK.json
says how it was made and what it scores on validation; test images are not touched.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.app import build
from tadrop.app.console import err, out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import CONF
from tadrop.app.runs.opening import device_of
from tadrop.evaluation.bench import install
from tadrop.numerics.seeds import generator
from tadrop.storage.checkpoint import sha256
from tadrop.storage.files import write_atomically, write_tensors, write_text
from tadrop.types import TadropError

HEAD_IMAGES = 4000  # at most so many training images for fitting a head
OPTIMIZERS = ("adam", "adamw", "sam")
SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class Recipe:
    """The words of conf/recipe/*.yaml."""

    name: str
    optimizer: str
    steps: int
    batch: int
    rate: float
    decay: float
    warmup: int
    schedule: str
    clip: float | None
    rho: float
    flip: bool

    def __post_init__(self) -> None:
        for word, value, known in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                raise TadropError(
                    f"recipe.{word} is {value!r}; it must be {' or '.join(known)}"
                )

    def factor(self, step: int) -> float:
        """The rate at a step over its peak: linear warm-up, then constant or a half
        cosine to zero.
        """
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (
            1
            + math.cos(
                math.pi * (step - self.warmup) / max(1, self.steps - self.warmup)
            )
        )

    def make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, self.rate, weight_decay=self.decay)


def batch_at(
    count: int, step: int, recipe: Recipe, words: tuple[object, ...]
) -> np.ndarray:
    """The rows of one step: a function of the step alone, so that a resumed run sees
    the same ones.
    """
    size = min(recipe.batch, count)
    epoch, at = divmod(step, count // size)
    return generator("finetune", *words, epoch).permutation(count)[
        at * size : (at + 1) * size
    ]


def pixels(
    images: np.ndarray, rows: np.ndarray, flip: np.ndarray | None, device: torch.device
) -> Tensor:
    """uint8 images of these rows; those in flip mirrored."""
    chosen = images[np.sort(rows)][np.argsort(np.argsort(rows))]
    if flip is not None:
        chosen = np.where(flip[:, None, None, None], chosen[:, :, ::-1], chosen)
    return torch.from_numpy(np.ascontiguousarray(chosen)).to(device)


def backward(
    module: nn.Module, images: Tensor, labels: Tensor, device: torch.device
) -> float:
    """One forward and backward pass; bfloat16 on a GPU."""
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        loss = F.cross_entropy(module(images).float(), labels)
    if not torch.isfinite(loss):
        raise TadropError(f"the loss is {loss.item()}; try a smaller recipe.rate")
    loss.backward()
    return loss.item()


@torch.no_grad()
def climb(parameters: Iterable[nn.Parameter], rho: float) -> list[Tensor | None]:
    """sam's first half: a step of length rho up the gradient. Returns the steps, to go
    back down.
    """
    moved = [p for p in parameters if p.grad is not None]
    norm = torch.stack([p.grad.norm() for p in moved]).norm().clamp_min(1e-12)
    steps = [p.grad * (rho / norm) for p in moved]
    for parameter, step in zip(moved, steps, strict=True):
        parameter.add_(step)
        parameter.grad = None
    return steps


def train_step(
    module: nn.Module, parameters: list, images: Tensor, labels: Tensor, recipe: Recipe
) -> float:
    """Leaves the gradient that the optimiser is to use; sam's is taken where the loss
    is worst nearby.
    """
    loss = backward(module, images, labels, images.device)
    if recipe.optimizer == "sam":
        moved = [p for p in parameters if p.grad is not None]
        steps = climb(moved, recipe.rho)
        backward(module, images, labels, images.device)
        with torch.no_grad():
            for parameter, step in zip(moved, steps, strict=True):
                parameter.sub_(step)
    if recipe.clip is not None:
        nn.utils.clip_grad_norm_(parameters, recipe.clip)
    return loss


def accuracy(
    module: nn.Module, suite: Any, task: str, split: str, device: torch.device
) -> float:
    """On one split, in percent."""
    with torch.inference_mode():
        right = [
            suite.grade(module(x.to(device)), y.to(device)).float().cpu()
            for x, y in suite.batches(task, split)
        ]
    return 100 * float(torch.cat(right).mean())


class Run:
    """The fine-tuning of one task: set up, resumed if it was interrupted, trained,
    written.
    """

    def __init__(self, cfg: DictConfig, backbone: Any, suite: Any, task: str) -> None:
        self.cfg, self.backbone, self.suite, self.task = cfg, backbone, suite, task
        self.recipe = Recipe(**OmegaConf.to_container(cfg.recipe, resolve=True))
        self.device = device_of(cfg.device)
        folder = Path(cfg.paths.experts) / backbone.name
        self.target, self.state = (
            folder / f"{task}.safetensors",
            folder / f".{task}.state",
        )
        self.data = suite.images(task, "train")

    def set_up(self) -> None:
        """The base's weights, the task's head, and which tensors are trained."""
        self.base = self.backbone.open_base()
        private = self.backbone.private_tensors(self.base)
        self.names = [
            n
            for n, t in self.base.tensors.items()
            if n not in private and t.is_floating_point()
        ]
        torch.manual_seed(self.cfg.seed)
        self.module = self.backbone.build().to(self.device).eval().requires_grad_(False)
        self.places = self.backbone.places(self.module)
        install(self.places, ((n, self.base[n]) for n in self.names))
        rows = generator("finetune-head", self.cfg.seed).permutation(
            len(self.data.labels)
        )[:HEAD_IMAGES]
        images = pixels(self.data.images, rows, None, torch.device("cpu"))
        labels = torch.from_numpy(self.data.labels[rows])
        self.head = self.backbone.first_head(self.module, images, labels, self.task)
        self.backbone.equip(self.module, self.head)
        merged = {self.places[n].untyped_storage().data_ptr() for n in self.names}
        self.parameters = [
            p
            for p in self.module.parameters()
            if p.untyped_storage().data_ptr() in merged
        ]
        for parameter in self.parameters:
            parameter.requires_grad_(True)

    def resume(self, optimizer: torch.optim.Optimizer) -> int:
        """The step to go on with, its weights and moments in place."""
        if not self.state.exists():
            return 0
        state = torch.load(self.state, map_location=self.device, weights_only=True)
        if state["recipe"] != vars(self.recipe) | {"seed": self.cfg.seed}:
            raise TadropError(
                f"{self.state}: is of another recipe; delete it or go on with that one"
            )
        with torch.no_grad():
            for parameter, value in zip(
                self.parameters, state["parameters"], strict=True
            ):
                parameter.copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        return state["step"]

    def keep(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        parts = {
            "recipe": vars(self.recipe) | {"seed": self.cfg.seed},
            "step": step,
            "parameters": [p.detach() for p in self.parameters],
            "optimizer": optimizer.state_dict(),
        }
        write_atomically(self.state, lambda path: torch.save(parts, path))

    def train(self) -> Mapping[str, float]:
        recipe, words = self.recipe, (self.cfg.seed, self.task)
        optimizer = recipe.make(self.parameters)
        start, began, losses = self.resume(optimizer), time.perf_counter(), []
        for step in range(start, recipe.steps):
            rows = batch_at(len(self.data.labels), step, recipe, words)
            flip = (
                generator("flip", *words, step).random(len(rows)) < 0.5
                if recipe.flip
                else None
            )
            images = pixels(self.data.images, rows, flip, self.device)
            labels = torch.from_numpy(self.data.labels[rows]).to(self.device)
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate * recipe.factor(step)
            losses.append(
                train_step(self.module, self.parameters, images, labels, recipe)
            )
            optimizer.step()
            optimizer.zero_grad()
            if (step + 1) % self.cfg.save_every == 0 and step + 1 < recipe.steps:
                self.keep(optimizer, step + 1)
                err.print(
                    f"{self.task}: step {step + 1} of {recipe.steps}, loss {np.mean(losses[-50:]):.3f}"
                )
        return {
            "first_step": start,
            "seconds": time.perf_counter() - began,
            "loss": float(np.mean(losses[-50:])),
        }

    def write(self, trained: Mapping[str, float], before: float) -> None:
        """The checkpoint in the base's names, and how it was made."""
        weights = {
            n: self.places[n].detach().cpu().clone().contiguous() for n in self.names
        }
        heads = (
            {n: t.detach().cpu().contiguous() for n, t in self.head.items()}
            if self.backbone.keeps_heads
            else {}
        )
        write_tensors(
            self.target,
            weights | heads,
            {"task": self.task, "recipe": self.recipe.name},
        )
        facts = {
            "task": self.task,
            "model": self.backbone.name,
            "base": self.base.fingerprint(),
            "recipe": vars(self.recipe),
            "seed": self.cfg.seed,
            "threads": torch.get_num_threads(),  # on which the bits depend
            "data": self.suite.fingerprint(self.task, "train"),
            "protocol": self.suite.protocol,
            "validation_before": before,
            "validation": accuracy(
                self.module, self.suite, self.task, "validation", self.device
            ),
            "training": dict(trained),
            "sha256": sha256(self.target),
        }
        write_text(self.target.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
        self.state.unlink(missing_ok=True)
        out.print(
            f"{self.target}: validation {before:.1f} -> {facts['validation']:.1f} %, "
            f"{trained['seconds']:.0f} s, loss {trained['loss']:.3f}",
            soft_wrap=True,
        )

    def __call__(self) -> None:
        if self.target.exists():
            out.print(f"{self.target}: kept", soft_wrap=True)
            return
        self.set_up()
        before = accuracy(self.module, self.suite, self.task, "validation", self.device)
        self.write(self.train(), before)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="finetune")
def main(cfg: DictConfig) -> None:
    with told_in_one_line():
        config = OmegaConf.to_container(cfg, resolve=True)
        config["tasks"]["names"] = [cfg.task] if cfg.task else config["tasks"]["names"]
        suite = build.tasks(config["tasks"])
        backbone = instantiate(config["model"]).bound(suite)
        if not hasattr(backbone, "first_head"):
            raise TadropError(
                f"model={cfg.model.name} is not fine-tuned here; dinov2_s14 and the CLIP models are"
            )
        for task in suite.names:
            Run(cfg, backbone, suite, task)()


if __name__ == "__main__":
    main()
