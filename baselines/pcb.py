"""PCB-Merging (arXiv 2410.02396) as the authors' scripts compute it: exp and tanh
balances, not the paper's softmax.

Per task, over the whole model: magnitudes are winsorised and min-max scaled to norm_t;
the balance is beta_t = exp(T norm_t^2) * tanh(tau_t * sum_j other_j); what lies below
its (1 - ratio) quantile weighs 0, the rest min-max weights s_t; an entry becomes sum_t
s_t c_t / sum_t s_t of the winsorised c_t.

inter: normalised is the vision script (other_j = sign(tau_j) norm_j), plain the
repository's root and language scripts (other_j = tau_j). winsor: the fraction clamped
at either end: 0.01 vision and language, 1e-4 root. The paper's own formula is
baselines/pcb_softmax.py. Where a task's magnitudes, or its balances, are all equal the
scripts divide 0 by 0; here the min-max scaled value is 0. Order statistics come from
passes over the stream, four of them before the merge.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tadrop.numerics.ops import along, total
from tadrop.numerics.quantile import order_statistics
from tadrop.protocols import Stream
from tadrop.types import Deltas, TadropError, Taus
from tadrop.vectors.passes import entries

MOST = 80  # exponents up to which float32 holds the exponential


def excess(tasks: int) -> int:
    """What is taken off exponents of at most `tasks`: a task's weights do not know a
    factor of all its balances.
    """
    return max(tasks - MOST, 0)


class Bounds(NamedTuple):
    """Per task, [T]: what magnitudes are clamped to, and the balance at the quantile
    and at its largest.
    """

    low: Tensor
    high: Tensor
    cut: Tensor
    top: Tensor
    inter: str


def min_max(values: Taus, low: Tensor, high: Tensor) -> Taus:
    """Every task's values clamped to [low, high] and scaled to [0, 1]; 0 where the two
    are equal.
    """
    low, high = along(low, values), along(high, values)
    width = high - low
    return torch.where(
        width > 0, (values.clamp(low, high) - low) / torch.where(width > 0, width, 1), 0
    )


def balance(taus: Taus, low: Tensor, high: Tensor, inter: str) -> Taus:
    """beta, [T, *shape]."""
    norm = min_max(taus.abs(), low, high)
    others = total(torch.sign(taus) * norm if inter == "normalised" else taus)
    return torch.exp(len(taus) * norm.square() - excess(len(taus))) * torch.tanh(
        taus * others
    )


def size(stream: Stream) -> int:
    """Entries of the whole model."""
    return sum(block.shape[1] for block in entries(stream))


def bounds(
    values: Callable[[], Iterator[Tensor]], count: int, below: float, above: float
) -> list[Tensor]:
    """The values at sorted places int(d below) and int(d (1 - above) - 1) of each row,
    as the scripts count.
    """
    ranks = [min(int(count * below), count - 1), max(int(count * (1 - above) - 1), 0)]
    return list(order_statistics(values, ranks).unbind(1))


def survey(
    stream: Stream, ratio: float = 0.05, winsor: float = 0.01, inter: str = "normalised"
) -> Bounds:
    """ratio: the fraction of balances kept (the paper's r)."""
    if inter not in ("normalised", "plain"):
        raise TadropError(f"inter is {inter!r}; it must be normalised or plain")
    if not 0 < ratio <= 1 or not 0 <= winsor < 0.5:
        raise TadropError(
            f"ratio is {ratio} and winsor is {winsor}; 0 < ratio <= 1 and 0 <= winsor < 0.5 must hold"
        )
    count = size(stream)
    low, high = bounds(
        lambda: (taus.abs() for taus in entries(stream)), count, winsor, winsor
    )
    cut, top = bounds(
        lambda: (balance(taus, low, high, inter) for taus in entries(stream)),
        count,
        1 - ratio,
        0,
    )
    return Bounds(low, high, cut, top, inter)


def merge(taus: Taus, survey: Bounds) -> Deltas:
    """The weighted mean of the winsorised task vectors, by the balances that passed."""
    low, high = along(survey.low, taus), along(survey.high, taus)
    clamped = torch.sign(taus) * taus.abs().clamp(low, high)
    weight = min_max(
        balance(taus, survey.low, survey.high, survey.inter), survey.cut, survey.top
    )
    return total(clamped * weight) / total(weight).clamp(min=1e-12)
