"""Fisher merging (arXiv 2111.09832): per entry, the mean of the models weighted by
their diagonal Fisher information.

theta = sum_t w_t F_t theta_t / sum_t w_t F_t, which is theta0 plus the same mean of the
task vectors. `exact` is the authors' estimate, per example and with the exact sum over
classes: F = mean_x sum_c p_c(x) (d log p_c(x) / d theta)^2. `batch_squared` is what
goes by this name in MergeLM and FusionBench: it squares the gradient of a whole batch's
sum_c sqrt(p_c) log p_c, so that it is neither per example nor per class, and changes
with the batch size.

w_t = 1 / |F_t|_2 over the model (an option of the authors, the default of the ports). A
floor keeps entries defined that no task uses. The authors add it to the one model they
favour, of which there is none here; `floored` says where:
weighted: to every w_t F_t, so that such an entry is averaged (fisher). information: to
every F_t before its weight, and to the norms, as the ports do (fisher_batch); such an
entry follows the models whose Fisher is small.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tadrop.modules import batches as batching
from tadrop.modules.slots import parameters
from tadrop.numerics.ops import along, rows, total
from tadrop.protocols import Statistics, Stream
from tadrop.types import Deltas, Slot, TadropError, Taus

CLASSES = 8  # class gradients computed at once


def _leaves(module: nn.Module, places: Mapping[str, Slot]) -> dict[str, Tensor]:
    """The parameters that hold merged tensors, as leaves to differentiate by."""
    return {
        name: leaf.requires_grad_()
        for name, leaf in parameters(module, places.values()).items()
    }


def _add_squares(totals: dict[str, Tensor], gradients: Sequence[Tensor | None]) -> None:
    for sums, gradient in zip(totals.values(), gradients, strict=True):
        if gradient is not None:
            sums += gradient.square().reshape(-1, *sums.shape).sum(0)


def exact(
    module: nn.Module, batches: Iterator[Any], places: Mapping[str, Slot]
) -> dict[str, Tensor]:
    """The diagonal Fisher, example by example and class by class. Labels are not
    needed.
    """
    leaves, count = _leaves(module, places), 0
    totals = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    for inputs in batches:
        for example in batching.split(inputs, 1):
            with (
                torch.enable_grad(),
                sdpa_kernel(SDPBackend.MATH),
            ):  # the other kernels cannot be batched over classes
                log_p = module(example)[0].log_softmax(-1)
                for weights in (
                    log_p.detach().mul(0.5).exp().diag().split(CLASSES)
                ):  # sqrt(p_c) times log p_c
                    gradients = torch.autograd.grad(
                        log_p,
                        list(leaves.values()),
                        weights,
                        retain_graph=True,
                        is_grads_batched=True,
                        allow_unused=True,
                    )
                    _add_squares(totals, gradients)
            count += 1
    module.requires_grad_(False)
    return {
        name: place.of(totals[place.parameter]) / count
        for name, place in places.items()
    }


def batch_squared(
    module: nn.Module, batches: Iterator[Any], places: Mapping[str, Slot]
) -> dict[str, Tensor]:
    """The ports' variant: squares of batch gradients, summed and divided by the number
    of examples.
    """
    leaves, count = _leaves(module, places), 0
    totals = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    for inputs in batches:
        with torch.enable_grad():
            log_p = module(inputs).log_softmax(-1)
            expected = (log_p.detach().mul(0.5).exp() * log_p).sum()
            _add_squares(
                totals,
                torch.autograd.grad(expected, list(leaves.values()), allow_unused=True),
            )
        count += batching.count(inputs)
    module.requires_grad_(False)
    return {
        name: place.of(totals[place.parameter]) / count
        for name, place in places.items()
    }


def survey(
    stream: Stream, statistics: Statistics, weights: str = "norm", floor: float = 0.0
) -> Tensor:
    """w_t per task: 1 / (|F_t|_2 + floor) (norm), or 1 (equal)."""
    if weights not in ("norm", "equal"):
        raise TadropError(f"weights is {weights!r}; it must be norm or equal")
    squares = torch.zeros(len(stream.tasks), dtype=torch.float64)
    for name in stream.names if weights == "norm" else ():
        block = statistics.block(name)
        if block is not None:
            squares += rows(block).square().sum(1, dtype=torch.float64).cpu()
    return torch.where(
        squares > 0, 1 / (squares.sqrt() + floor) if floor else squares.rsqrt(), 1.0
    )


def merge(
    taus: Taus,
    statistics: Tensor | None,
    survey: Tensor,
    floor: float = 1e-6,
    floored: str = "weighted",
) -> Deltas:
    """The weighted mean; the plain mean where there is no Fisher. floored: what the
    floor is added to.
    """
    if floored not in ("weighted", "information"):
        raise TadropError(f"floored is {floored!r}; it must be weighted or information")
    if statistics is None:
        return total(taus) / len(taus)
    of_task = along(survey.to(statistics), taus)
    weights = (
        statistics * of_task + floor
        if floored == "weighted"
        else (statistics + floor) * of_task
    )
    return total(weights * taus) / total(weights)
