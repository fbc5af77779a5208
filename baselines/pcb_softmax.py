"""PCB-Merging by the formula of its paper (arXiv 2410.02396).

Over all entries of the model,

    beta_t = Softmax(T Norm(tau_t^2)) * sum_j Softmax(Norm(tau_t tau_j))

The top `ratio` of each beta_t, min-max scaled, are the weights of a
mean. It sees no data. The authors' scripts do otherwise, see
baselines/pcb.py.

Norm is taken as min-max, which is what every script does. The first
softmax's denominator is one number per task and cancels. A product that
is the same everywhere has Norm 0.
"""

from collections.abc import Iterator
from functools import partial
from math import exp
from typing import NamedTuple

import torch
from torch import Tensor

from tadrop.numerics.ops import along, total
from tadrop.protocols.streams import Stream
from tadrop.types import Deltas, TadropError, Taus
from tadrop.vectors.passes import entries

from .pcb import bounds, excess, min_max, size, weighted_mean


class Balances(NamedTuple):
    """What the survey of a model says.

    low, high: the extremes of tau_t * tau_j, [T, T]
    mean:      the mean of exp(Norm(tau_t * tau_j)), [T, T]
    cut, top:  beta at its quantile, and the largest, [T]
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    cut: Tensor
    top: Tensor


def _exponentials(taus: Taus, low: Tensor, high: Tensor) -> Iterator[Taus]:
    """exp(Norm(tau_t * tau_j)) for each task t, [j, *shape]."""
    for t, tau in enumerate(taus):
        yield torch.exp(min_max(tau * taus, low[t], high[t]))


def balance(taus: Taus, low: Tensor, high: Tensor, mean: Tensor) -> Taus:
    """beta up to a factor per task, [T, *shape]."""
    tasks = len(taus)
    factor = exp(-excess(tasks) / tasks)
    betas = []
    for t, exponentials in enumerate(_exponentials(taus, low, high)):
        intra = (exponentials[t] * factor) ** tasks
        inter = total(exponentials / along(mean[t], taus))[0]
        betas.append(intra * inter)
    return torch.stack(betas)


def _extremes(stream: Stream) -> tuple[Tensor, Tensor]:
    """The least and the largest tau_t * tau_j over all entries, [T, T]."""
    tasks = len(stream.tasks)
    low = torch.full((tasks, tasks), torch.inf)
    high = torch.full((tasks, tasks), -torch.inf)
    for least, most in entries(stream, _least_and_most):
        low = torch.minimum(low, least)
        high = torch.maximum(high, most)
    return low, high


def _least_and_most(taus: Taus) -> Tensor:
    """_extremes() of a piece, [2, T, T]."""
    extremes = [torch.stack(torch.aminmax(tau * taus, dim=1)) for tau in taus]
    return torch.stack(extremes, dim=1).cpu()


def _means(stream: Stream, low: Tensor, high: Tensor) -> Tensor:
    """The mean of exp(Norm(tau_t * tau_j)) over all entries, [T, T]."""
    tasks = len(stream.tasks)
    sums = torch.zeros(tasks, tasks, dtype=torch.float64)

    def add(taus: Taus) -> Tensor:
        exponentials = _exponentials(taus, low, high)
        return torch.stack([e.sum(1, dtype=torch.float64) for e in exponentials]).cpu()

    for summands in entries(stream, add):
        sums += summands
    return (sums / size(stream)).float()


def survey(stream: Stream, ratio: float = 0.05) -> Balances:
    """What the merge asks of the whole model, in four passes.

    The first two find the extremes of the products and the softmax
    denominators, the last two the quantile of beta. ratio: the fraction
    of beta kept.
    """
    if not 0 < ratio <= 1:
        raise TadropError(
            f"ratio is {ratio}; it is the fraction kept and must be in (0, 1]"
        )
    low, high = _extremes(stream)
    mean = _means(stream, low, high)

    balanced = partial(balance, low=low, high=high, mean=mean)

    def balances() -> Iterator[Tensor]:
        return entries(stream, balanced)

    cut, top = bounds(balances, size(stream), 1 - ratio, 0.0)
    return Balances(low, high, mean, cut, top)


def merge(taus: Taus, survey: Balances) -> Deltas:
    """The weighted mean of the task vectors, by the balances in each task's top."""
    balances = balance(taus, survey.low, survey.high, survey.mean)
    return weighted_mean(taus, min_max(balances, survey.cut, survey.top))
