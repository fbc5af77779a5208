"""How the embedded models are trained: on a schedule with a warm-up."""

import math
from collections.abc import Callable, Iterable
from typing import TypedDict

import torch
from torch import Tensor

WARM_UP = 0.1  # share of the steps
MOMENTUM = 0.9


class Rates(TypedDict):
    """The learning rate at its highest, and the weight decay."""

    rate: float
    decay: float


def optimise(
    parameters: Iterable[Tensor],
    losses: Iterable[Tensor],
    steps: int,
    rates: Rates,
    name: str,
    betas: tuple[float, float] = (0.9, 0.999),
    on_step: Callable[[float], object] = lambda loss: None,
    kind: str = "adamw",
) -> None:
    """Takes a step for every loss: warm-up, cosine to zero, gradients clipped at 1.

    kind: adamw, or sgd with a momentum of MOMENTUM; betas are AdamW's alone
    losses are computed as they are asked for. on_step is told each of them. Raises
    FloatingPointError, with the name of what is trained, if one is not finite.
    """
    trained = list(parameters)
    rate, decay = rates["rate"], rates["decay"]
    optimizer: torch.optim.Optimizer
    if kind == "sgd":
        optimizer = torch.optim.SGD(trained, rate, MOMENTUM, weight_decay=decay)
    else:
        optimizer = torch.optim.AdamW(trained, rate, betas, weight_decay=decay)

    def share_of_rate(step: int) -> float:
        rising = (step + 1) / (WARM_UP * steps)
        falling = 0.5 * (1 + math.cos(math.pi * step / steps))
        return min(rising, falling)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_rate)
    for loss in losses:
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{name}: the loss is {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        on_step(loss.item())
