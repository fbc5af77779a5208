"""Fisher merging (arXiv 2111.09832): the mean of models weighted by their information.

Per entry, with the diagonal Fisher information F_t,

    theta = sum_t w_t F_t theta_t / sum_t w_t F_t

which is theta0 plus the same mean of the task vectors. The weight is
w_t = 1 / |F_t|_2 over the model, an option of the authors and the
default of the ports.

Data: some training inputs of every task, without labels.
- `exact` is the authors' estimate, per example and with the exact sum
  over classes: F = mean_x sum_c p_c(x) (d log p_c(x) / d theta)^2.
- `batch_squared` is what goes by this name in MergeLM and FusionBench.
  It squares the gradient of a whole batch's sum_c sqrt(p_c) log p_c, so
  that it is neither per example nor per class, and changes with the
  batch size.

A floor keeps entries defined that no task uses. `floored` says where it
goes; every choice is made of the information as it comes, before its
weight:
- every: max(F_t, floor) of every model, which is what the authors do
  where they favour no model (the row fisher). Their norms are those of
  F_t without the floor.
- first: the same of the first model alone, as where the authors favour
  a target model, which they have first. It depends on the order of the
  tasks.
- information: F_t + floor of every model, and a norm plus the floor, as
  the ports do (the row fisher_batch).
An entry that no task uses follows the models whose Fisher is small.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tadrop.modules import batches as batching
from tadrop.modules.slots import parameters
from tadrop.numerics.ops import along, rows, total
from tadrop.protocols.streams import Stream
from tadrop.protocols.workbench import Statistics
from tadrop.types import Deltas, Slot, TadropError, Taus

CLASSES = 8  # class gradients computed at once


class _Squares:
    """Sums of squared gradients by the parameters that hold merged tensors."""

    def __init__(self, module: nn.Module, slots: Mapping[str, Slot]) -> None:
        self.module, self.slots = module, slots
        self.leaves, self.sums = [], {}
        for name, leaf in parameters(module, slots.values()).items():
            self.leaves.append(leaf.requires_grad_())
            self.sums[name] = torch.zeros_like(leaf)

    def add(self, gradients: Sequence[Tensor | None]) -> None:
        """Adds the squares of gradients [..., *leaf], one for each of the leaves."""
        for sums, gradient in zip(self.sums.values(), gradients, strict=True):
            if gradient is not None:
                sums += gradient.square().reshape(-1, *sums.shape).sum(0)

    def mean(self, count: int) -> dict[str, Tensor]:
        """The sums by merged tensor, divided by the number of examples.

        The module's parameters no longer ask for gradients.
        """
        self.module.requires_grad_(False)
        means = {}
        for name, slot in self.slots.items():
            means[name] = slot.of(self.sums[slot.parameter]) / count
        return means


def _class_gradients(
    log_p: Tensor,
    leaves: Sequence[Tensor],
) -> Iterator[Sequence[Tensor | None]]:
    """The gradients of sqrt(p_c) log p_c, [class, *leaf], some classes at a time."""
    roots = log_p.detach().mul(0.5).exp()
    for weights in roots.diag().split(CLASSES):
        yield torch.autograd.grad(
            log_p,
            leaves,
            weights,
            retain_graph=True,
            is_grads_batched=True,
            allow_unused=True,
        )


def exact(
    module: nn.Module,
    batches: Iterator[Any],
    slots: Mapping[str, Slot],
) -> dict[str, Tensor]:
    """The diagonal Fisher, example by example and class by class."""
    squares = _Squares(module, slots)
    count = 0
    for inputs in batches:
        for example in batching.split(inputs, 1):
            # The other attention kernels cannot be batched over classes.
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                log_p = module(example)[0].log_softmax(-1)
                for gradients in _class_gradients(log_p, squares.leaves):
                    squares.add(gradients)
            count += 1
    return squares.mean(count)


def batch_squared(
    module: nn.Module,
    batches: Iterator[Any],
    slots: Mapping[str, Slot],
) -> dict[str, Tensor]:
    """The ports' variant: squared gradients of batches, by the number of examples."""
    squares = _Squares(module, slots)
    count = 0
    for inputs in batches:
        with torch.enable_grad():
            log_p = module(inputs).log_softmax(-1)
            expected = (log_p.detach().mul(0.5).exp() * log_p).sum()
            squares.add(
                torch.autograd.grad(expected, squares.leaves, allow_unused=True)
            )
        count += batching.count(inputs)
    return squares.mean(count)


def survey(
    stream: Stream,
    statistics: Statistics,
    weights: str = "norm",
    floor: float = 0.0,
) -> Tensor:
    """w_t per task, [T]: 1 / (|F_t|_2 + floor) (weights: norm), or 1 (equal)."""
    if weights not in ("norm", "equal"):
        raise TadropError(f"weights is {weights!r}; it must be norm or equal")
    squares = torch.zeros(len(stream.tasks), dtype=torch.float64)
    if weights == "equal":
        return torch.ones_like(squares)
    for name in stream.names:
        information = statistics.read(name)
        if information is not None:
            of_tensor = rows(information).square()
            squares += of_tensor.sum(1, dtype=torch.float64).cpu()
    inverse = 1 / (squares.sqrt() + floor) if floor else squares.rsqrt()
    return torch.where(squares > 0, inverse, 1.0)


FLOORED = ("every", "first", "information")


def merge(
    taus: Taus,
    statistics: Tensor | None,
    survey: Tensor,
    floor: float = 1e-6,
    floored: str = "every",
    order: Sequence[int] = (0,),
) -> Deltas:
    """The weighted mean, or the plain one of a tensor without statistics.

    statistics: F_t, [T, *shape]
    survey:     w_t, [T]
    floored:    where the floor goes: every, first or information
    order:      the first of these is the first model
    """
    if floored not in FLOORED:
        raise TadropError(
            f"floored is {floored!r}; it must be one of {', '.join(FLOORED)}"
        )
    if statistics is None:
        return total(taus) / len(taus)
    if floored == "information":
        information = statistics + floor
    else:
        raised = slice(None) if floored == "every" else order[0]
        information = statistics.clone()
        information[raised].clamp_(min=floor)
    weights = information * along(survey.to(statistics), taus)
    return total(weights * taus) / total(weights)
