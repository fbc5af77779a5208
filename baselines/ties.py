"""TIES-Merging (arXiv 2306.01708): trim, elect a sign per entry, merge the entries that
agree with it.

The trim is a sparsifier (conf/sparsify/magnitude.yaml, over the whole model as in the
authors' code) and has run when this formula sees the task vectors, which is where
TADrop takes its place. Merging functions: mean with lambda 1 is the authors' default;
sum with lambda 0.3 is what the AdaMerging lineage calls TIES.
"""

import torch
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.ops import rows, total
from tadrop.protocols import Stream
from tadrop.types import Deltas, TadropError, Taus
from tadrop.vectors.passes import add_up


def survey(stream: Stream) -> float:
    """The majority sign over all entries of the model, for entries whose survivors
    cancel exactly.
    """
    balance = int(add_up(stream, _balance))
    return float((balance > 0) - (balance < 0))


def _balance(taus: Taus) -> Tensor:
    """How many more entries have a positive than a negative sum."""
    if compiled.serves(taus[0].numel(), taus):
        from tadrop.numerics import formula_kernels as kernels

        return torch.tensor(kernels.balance(compiled.array(rows(taus))))
    return torch.sign(total(taus)).sum(dtype=torch.float64).long()


def elect(taus: Taus, fallback: float) -> Deltas:
    """The sign of the sum per entry, [1, *shape]; where that is 0 the fallback."""
    sign = torch.sign(total(taus))
    return torch.where(sign == 0, fallback, sign)


def merge(taus: Taus, survey: float, combine: str = "mean") -> Deltas:
    """combine: mean over the agreeing tasks, their sum, or the largest of them (mean |
    sum | max).

    An entry whose elected sign is still 0, because the whole model is balanced, takes
    the negative side as the authors' code does.
    """
    sign = elect(taus, survey)
    agree = torch.where(sign > 0, taus > 0, taus < 0)
    chosen = torch.where(agree, taus, 0)
    if combine == "sum":
        return total(chosen)
    if combine == "mean":
        return total(chosen) / agree.sum(0, keepdim=True).clamp(min=1)
    if combine == "max":
        return chosen.abs().amax(0, keepdim=True) * sign
    raise TadropError(f"combine is {combine!r}; it must be mean, sum or max")


def fused(taus: Taus, survey: float, combine: str = "mean") -> tuple[Deltas, None]:
    """merge() compiled, for mean and sum."""
    if combine not in ("mean", "sum"):
        return merge(taus, survey, combine), None
    from tadrop.numerics import formula_kernels as kernels

    result = torch.empty_like(taus[:1])
    kernels.ties(
        taus.view(len(taus), -1).numpy(),
        survey,
        combine == "mean",
        result.view(-1).numpy(),
    )
    return result, None
