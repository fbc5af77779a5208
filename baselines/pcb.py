"""PCB-Merging (arXiv 2410.02396) as the authors' scripts compute it.

Per task, over the whole model:
1. Magnitudes are winsorised and min-max scaled to norm_t.
2. The balance is exp(T norm_t^2) * inter_t, see below.
3. Balances below their (1 - ratio) quantile weigh 0; the rest, min-max
   scaled, are the weights s_t.
4. An entry becomes sum_t s_t c_t / sum_t s_t of the winsorised c_t.

It sees no data. The scripts differ in two settings:
- inter: with n_j = sign(tau_j) norm_j, inter_t is
  normalised: tanh(tau_t sum_j n_j), in the vision script
  plain: tanh(tau_t sum_j tau_j), in the root and language scripts
  pairwise: sum_j tanh(n_t n_j), in the vision script that searches
- winsor: the fraction clamped at either end, 0.01 in the vision and
  language scripts and 1e-4 in the root script.

The scripts that search look for one coefficient a task on validation
data, which multiplies c_t. The row pcb_es has their formula with all
coefficients 1, and no search.

The paper's own formula, with softmax in the place of exp and tanh, is
baselines/pcb_softmax.py.

Departure: where a task's magnitudes, or its balances, are all equal the
scripts divide 0 by 0; here the min-max scaled value is 0. Order
statistics come from passes over the stream, four of them before the
merge: two over magnitudes, two over balances.
"""

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.ops import along, rows, total
from tadrop.numerics.quantile import order_statistics, spectrum
from tadrop.numerics.threads import in_order
from tadrop.protocols.streams import Stream
from tadrop.types import Deltas, TadropError, Taus
from tadrop.vectors.passes import entries

MOST = 80  # exponents up to which float32 holds the exponential
INTER = ("normalised", "plain", "pairwise")
TINY = 1e-12  # what a sum of weights is at least when something is divided by it


def excess(tasks: int) -> int:
    """What is taken off exponents that are at most `tasks`, so that float32 holds them.

    A task's weights do not change with a factor common to all its
    balances.
    """
    return max(tasks - MOST, 0)


class Bounds(NamedTuple):
    """What the survey of a model says; the tensors hold one value per task, [T].

    low, high: what magnitudes are clamped to
    cut, top:  the balance at the quantile, and the largest
    inter:     normalised, plain or pairwise
    """

    low: Tensor
    high: Tensor
    cut: Tensor
    top: Tensor
    inter: str


def min_max(values: Taus, low: Tensor, high: Tensor) -> Taus:
    """Every task's values clamped to [low, high] and scaled to [0, 1].

    They are 0 where low and high are equal.
    """
    low, high = along(low, values), along(high, values)
    width = high - low
    divisor = torch.where(width > 0, width, 1)
    scaled = (values.clamp(low, high) - low) / divisor
    return torch.where(width > 0, scaled, 0)


def balance(taus: Taus, low: Tensor, high: Tensor, inter: str) -> Taus:
    """beta, [T, *shape]."""
    if inter != "pairwise" and compiled.serves(taus[0].numel(), taus):
        return _fused_balance(taus, low, high, inter)
    norm = min_max(taus.abs(), low, high)
    intra = torch.exp(len(taus) * norm.square() - excess(len(taus)))
    signed = torch.sign(taus) * norm
    if inter == "pairwise":
        return intra * _pairwise(signed)
    others = signed if inter == "normalised" else taus
    return intra * torch.tanh(taus * total(others))


def _fused_balance(taus: Taus, low: Tensor, high: Tensor, inter: str) -> Taus:
    """balance() compiled but for the exponential and the tangent, same bits."""
    from tadrop.numerics.kernels import formulas as kernels

    exponents, products = torch.empty_like(taus), torch.empty_like(taus)
    kernels.pcb(
        compiled.array(rows(taus)),
        low.numpy(),
        high.numpy(),
        excess(len(taus)),
        inter == "normalised",
        compiled.array(rows(exponents)),
        compiled.array(rows(products)),
    )
    return exponents.exp_().mul_(products.tanh_())


def _pairwise(signed: Taus) -> Taus:
    """sum_j tanh(n_t n_j) for each task t."""
    sums = [total(torch.tanh(own * signed)) for own in signed]
    return torch.cat(sums)


def size(stream: Stream) -> int:
    """The number of entries of the whole model."""
    return sum(prod(stream.shapes[name]) for name in stream.names)


def _places(count: int, below: float, above: float) -> list[int]:
    """int(d below) and int(d (1 - above) - 1), of d = count values, as in the scripts."""
    first = min(int(count * below), count - 1)
    last = max(int(count * (1 - above) - 1), 0)
    return [first, last]


def bounds(
    values: Callable[[], Iterator[Tensor]],
    count: int,
    below: float,
    above: float,
) -> tuple[Tensor, Tensor]:
    """The sorted values at places int(d below) and int(d (1 - above) - 1) of each row.

    The places are counted as the scripts count them, of d = count
    values a row.
    """
    low, high = order_statistics(values, _places(count, below, above)).unbind(1)
    return low, high


def _magnitudes_between(stream: Stream, winsor: float) -> tuple[Tensor, Tensor]:
    """What the magnitudes of each task are clamped to, [T] each."""
    places = _places(size(stream), winsor, winsor)

    def of_task(task: int) -> list[float]:
        magnitudes = spectrum(stream.vector(task, None))
        return [found.value for found in magnitudes.order_statistics(places)]

    threads = torch.get_num_threads() if stream.device.type == "cpu" else 1
    values = list(in_order(of_task, range(len(stream.tasks)), threads))
    low, high = torch.tensor(values).unbind(1)
    return low.contiguous(), high.contiguous()


def survey(
    stream: Stream,
    ratio: float = 0.05,
    winsor: float = 0.01,
    inter: str = "normalised",
) -> Bounds:
    """ratio: the fraction of balances kept, the paper's r;
    see the module for the rest.
    """
    if inter not in INTER:
        raise TadropError(f"inter is {inter!r}; it must be one of {', '.join(INTER)}")
    if not 0 < ratio <= 1 or not 0 <= winsor < 0.5:
        raise TadropError(
            f"ratio is {ratio} and winsor is {winsor}; "
            "0 < ratio <= 1 and 0 <= winsor < 0.5 must hold"
        )

    low, high = _magnitudes_between(stream, winsor)
    balanced = partial(balance, low=low, high=high, inter=inter)

    def balances() -> Iterator[Tensor]:
        return entries(stream, balanced)

    cut, top = bounds(balances, size(stream), 1 - ratio, 0.0)
    return Bounds(low, high, cut.contiguous(), top.contiguous(), inter)


def weighted_mean(values: Taus, weights: Taus) -> Deltas:
    """The mean over the tasks, entry by entry; 0 where no task weighs anything."""
    mean = total(values * weights) / total(weights).clamp(min=TINY)
    return mean + 0.0  # 0 has no sign


def merge(taus: Taus, survey: Bounds) -> Deltas:
    """The weighted mean of the winsorised task vectors, by the balances that passed."""
    low, high = along(survey.low, taus), along(survey.high, taus)
    clamped = torch.sign(taus) * taus.abs().clamp(low, high)
    balances = balance(taus, survey.low, survey.high, survey.inter)
    return weighted_mean(clamped, min_max(balances, survey.cut, survey.top))


def fused(taus: Taus, survey: Bounds) -> tuple[Deltas, None]:
    """merge() compiled but for exponentials and tangents."""
    from tadrop.numerics.kernels import formulas as kernels

    low, high, cut, top, inter = survey
    balances = balance(taus, low, high, inter)
    result = torch.empty_like(taus[:1])
    kernels.weighted_mean(
        compiled.array(rows(taus)),
        compiled.array(rows(balances)),
        low.numpy(),
        high.numpy(),
        cut.numpy(),
        top.numpy(),
        TINY,
        compiled.array(result.view(-1)),
    )
    return result, None
