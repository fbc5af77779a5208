"""Steps of fine-tuning a module on labelled images, by a finetune recipe.

Everything random is a function of the seed, the task and the step alone, so that a run
that is interrupted goes on with the same batches.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.numerics.seeds import generator
from tadrop.protocols.tasks import LabelledImages, Tasks
from tadrop.types import TadropError

Optimizers = Callable[..., torch.optim.Optimizer]  # (parameters, lr, weight_decay)

OPTIMIZERS: dict[str, Optimizers] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sam": torch.optim.AdamW,
}
SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class FinetuneRecipe:
    """The words of conf/finetune/*.yaml.

    optimizer: adam, adamw, sam (sharpness-aware, arXiv 2010.01412, around AdamW), or the
               dotted path of a class like torch's
    rate:      at its peak; decay: weight decay; rho: sam's radius
    warmup:    steps of linear warm-up; schedule: constant or cosine after them
    clip:      the largest norm of a gradient; None for any
    flip:      whether half of the images are mirrored
    """

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
        if self.optimizer not in OPTIMIZERS and "." not in self.optimizer:
            raise TadropError(
                f"recipe.optimizer is {self.optimizer!r}; it must be "
                f"{', '.join(OPTIMIZERS)} or a class's path, such as torch.optim.SGD"
            )
        if self.schedule not in SCHEDULES:
            raise TadropError(
                f"recipe.schedule is {self.schedule!r}; "
                f"it must be {' or '.join(SCHEDULES)}"
            )

    def factor(self, step: int) -> float:
        """The rate at a step over its peak.

        It grows linearly while warming up, then is constant or a half cosine to zero.
        """
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.schedule == "constant":
            return 1.0
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * share))

    def make(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters, at the peak rate."""
        kind = OPTIMIZERS.get(self.optimizer) or _class_at(self.optimizer)
        return kind(list(parameters), lr=self.rate, weight_decay=self.decay)


def _class_at(path: str) -> Optimizers:
    """The class of a dotted path."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise TadropError(f"recipe.optimizer={path}: {error}") from error


def batch_at(
    count: int, step: int, recipe: FinetuneRecipe, words: tuple[object, ...]
) -> np.ndarray:
    """The rows, of so many, that one step sees.

    They are a function of the step and the words alone; an epoch sees each row at most
    once.
    """
    size = min(recipe.batch, count)
    epoch, turn = divmod(step, count // size)
    order = generator("finetune", *words, epoch).permutation(count)
    return order[turn * size : (turn + 1) * size]


def mirrored_at(
    count: int, step: int, recipe: FinetuneRecipe, words: tuple[object, ...]
) -> np.ndarray | None:
    """Which of a step's images are mirrored, [count];
    None where the recipe has none.
    """
    if not recipe.flip:
        return None
    return generator("flip", *words, step).random(count) < 0.5


def pixels(
    images: np.ndarray, rows: np.ndarray, mirrored: np.ndarray | None = None
) -> Tensor:
    """The images of these rows, uint8 [row, height, width, 3], some mirrored.

    images are mapped from a file: they are read in its order.
    """
    order, ranks = np.sort(rows), np.argsort(np.argsort(rows))
    chosen = images[order][ranks]
    if mirrored is not None:
        flipped = chosen[:, :, ::-1]
        chosen = np.where(mirrored[:, None, None, None], flipped, chosen)
    return torch.from_numpy(np.ascontiguousarray(chosen))


def shown_at(
    data: LabelledImages, step: int, recipe: FinetuneRecipe, words: tuple[object, ...]
) -> tuple[Tensor, Tensor]:
    """The images and labels of one step."""
    rows = batch_at(len(data.labels), step, recipe, words)
    mirrored = mirrored_at(len(rows), step, recipe, words)
    images = pixels(data.images, rows, mirrored)
    return images, torch.from_numpy(data.labels[rows])


def backward(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """One forward and backward pass, bfloat16 on a GPU; returns the loss."""
    device = images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        loss = F.cross_entropy(module(images).float(), labels)
    if not torch.isfinite(loss):
        raise TadropError(f"the loss is {loss.item()}; try a smaller recipe.rate")
    loss.backward()
    return loss.item()


@torch.no_grad()
def climb(parameters: Iterable[nn.Parameter], rho: float) -> list[Tensor]:
    """sam's first half: a step of length rho up the gradient, which is then forgotten.

    parameters: those that have a gradient. Returns the steps, to go back down.
    """
    moved: list[nn.Parameter] = []
    gradients: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is not None:
            moved.append(parameter)
            gradients.append(parameter.grad)
    lengths = [gradient.norm() for gradient in gradients]
    norm = torch.stack(lengths).norm().clamp_min(1e-12)
    steps = [gradient * (rho / norm) for gradient in gradients]
    for parameter, step in zip(moved, steps, strict=True):
        parameter.add_(step)
        parameter.grad = None
    return steps


def train_step(
    module: nn.Module,
    parameters: Sequence[nn.Parameter],
    images: Tensor,
    labels: Tensor,
    recipe: FinetuneRecipe,
) -> float:
    """Leaves the gradient that the optimizer is to use; returns the loss.

    sam's gradient is taken where the loss is worst nearby.
    """
    loss = backward(module, images, labels)
    if recipe.optimizer == "sam":
        moved = [p for p in parameters if p.grad is not None]
        steps = climb(moved, recipe.rho)
        backward(module, images, labels)
        with torch.no_grad():
            for parameter, step in zip(moved, steps, strict=True):
                parameter.sub_(step)
    if recipe.clip is not None:
        nn.utils.clip_grad_norm_(parameters, recipe.clip)
    return loss


@torch.inference_mode()
def accuracy(
    module: nn.Module, tasks: Tasks, task: str, split: str, device: torch.device
) -> float:
    """The share of a split's images that the module gets right, in percent."""
    right: list[Tensor] = []
    for images, labels in tasks.batches(task, split):
        grades = tasks.grade(module(images.to(device)), labels.to(device))
        right.append(grades.float().cpu())
    return 100 * float(torch.cat(right).mean())
