"""PCB-Merging by the formula of its paper (arXiv 2410.02396); the authors' scripts do
otherwise, see baselines/pcb.py.

beta_t = Softmax(T Norm(tau_t^2)) * sum_j Softmax(Norm(tau_t * tau_j)), over all entries
of the model; the top `ratio` of each beta_t, min-max scaled, are the weights of a mean.
Norm is taken as min-max, which is what every script does; the first softmax's
denominator is one number per task and cancels. A product that is the same everywhere
has Norm 0.
"""

from collections.abc import Iterator
from math import exp
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.pcb import bounds, excess, min_max, size
from tadrop.numerics.ops import along, total
from tadrop.protocols import Stream
from tadrop.types import Deltas, TadropError, Taus
from tadrop.vectors.passes import entries


class Balances(NamedTuple):
    """Extremes of tau_t * tau_j, [T, T], the mean of exp(Norm) for each, and per task
    beta's quantile and maximum.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    cut: Tensor
    top: Tensor


def _exponentials(taus: Taus, low: Tensor, high: Tensor) -> Iterator[Taus]:
    """exp(Norm(tau_t * tau_j)) for each task t, [j, *shape]."""
    return (
        torch.exp(min_max(tau * taus, low[t], high[t])) for t, tau in enumerate(taus)
    )


def balance(taus: Taus, low: Tensor, high: Tensor, mean: Tensor) -> Taus:
    """beta up to a factor per task, [T, *shape]."""
    betas, less = [], exp(-excess(len(taus)) / len(taus))
    for t, raised in enumerate(_exponentials(taus, low, high)):
        betas.append(
            (raised[t] * less) ** len(taus) * total(raised / along(mean[t], taus))[0]
        )
    return torch.stack(betas)


def survey(stream: Stream, ratio: float = 0.05) -> Balances:
    """Four passes: extremes of the products, softmax denominators, and two for the
    quantile of beta.
    """
    if not 0 < ratio <= 1:
        raise TadropError(
            f"ratio is {ratio}; it is the fraction kept and must be in (0, 1]"
        )
    tasks, count = len(stream.tasks), size(stream)
    low, high = (
        torch.full((tasks, tasks), torch.inf),
        torch.full((tasks, tasks), -torch.inf),
    )
    for taus in entries(stream):
        for t, tau in enumerate(taus):
            least, most = torch.aminmax((tau * taus).cpu(), dim=1)
            low[t], high[t] = torch.minimum(low[t], least), torch.maximum(high[t], most)
    sums = torch.zeros(tasks, tasks, dtype=torch.float64)
    for taus in entries(stream):
        for t, raised in enumerate(_exponentials(taus, low, high)):
            sums[t] += raised.sum(1, dtype=torch.float64).cpu()
    mean = (sums / count).float()
    cut, top = bounds(
        lambda: (balance(taus, low, high, mean) for taus in entries(stream)),
        count,
        1 - ratio,
        0,
    )
    return Balances(low, high, mean, cut, top)


def merge(taus: Taus, survey: Balances) -> Deltas:
    """The weighted mean of the task vectors, by the balances in each task's top."""
    weight = min_max(
        balance(taus, survey.low, survey.high, survey.mean), survey.cut, survey.top
    )
    return total(taus * weight) / total(weight).clamp(min=1e-12)
