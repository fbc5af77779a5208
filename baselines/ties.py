"""TIES-Merging (arXiv 2306.01708): trim, elect a sign per entry, merge what agrees.

The trim is a sparsifier (conf/sparsify/ties_trim.yaml, over the whole
model as in the authors' code) and has run when this formula sees the
task vectors, so TADrop can take its place. Of the merging functions,
mean with lambda 1 is the authors' default; sum with lambda 0.3 is what
the AdaMerging lineage calls TIES. It sees no data.

The trim keeps every entry as large as the k-th value, as the authors'
code does. Where magnitudes tie, as in 16-bit checkpoints, these are
more than the fraction named. An exact count is an option
(`sparsify.count=ties`).

An entry whose survivors cancel takes the majority sign of the model,
which `survey` finds. mergekit takes + instead, and the row ties_tensor
says so in the place of a survey.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from tadrop.numerics import compiled
from tadrop.numerics.ops import agreeing, rows, total
from tadrop.protocols.streams import Stream
from tadrop.types import Deltas, MatrixLayout, TadropError, Tau, Taus
from tadrop.vectors.arriving import Arriving, State, check_offered
from tadrop.vectors.passes import add_up


def survey(stream: Stream) -> float:
    """The majority sign over all entries of the model: 1, -1, or 0 if it is balanced.

    It is the fallback for entries whose survivors cancel exactly.
    """
    balance = int(add_up(stream, _balance))
    return float((balance > 0) - (balance < 0))


def _balance(taus: Taus) -> Tensor:
    """How many more entries have a positive than a negative sum."""
    if compiled.serves(taus[0].numel(), taus):
        from tadrop.numerics.kernels import formulas as kernels

        return torch.tensor(kernels.balance(compiled.array(rows(taus))))
    return torch.sign(total(taus)).sum(dtype=torch.float64).long()


def elect(taus: Taus, fallback: float) -> Deltas:
    """The sign of the sum per entry, [1, *shape]; where that is 0 the fallback."""
    sign = torch.sign(total(taus))
    return torch.where(sign == 0, fallback, sign)


def agreement(taus: Taus, sign: Deltas) -> Bool[Tensor, "task *shape"]:
    """Which entries have the elected sign.

    A sign that is still 0, because the whole model is balanced, counts
    as negative as in the authors' code.
    """
    return torch.where(sign > 0, taus > 0, taus < 0)


def merge(
    taus: Taus,
    survey: float,
    combine: str = "mean",
    weights: Tensor | None = None,
) -> Deltas:
    """The merge of the entries that agree with the elected sign.

    combine: mean over the agreeing tasks, their sum, or max, the
             largest of them
    weights: [task], by which taus were multiplied; of a mean those
             that agree divide
    """
    if combine not in ("mean", "sum", "max"):
        raise TadropError(f"combine is {combine!r}; it must be mean, sum or max")
    sign = elect(taus, survey)
    agree = agreement(taus, sign)
    survivors = torch.where(agree, taus, 0)
    if combine == "sum":
        return total(survivors)
    if combine == "mean":
        return total(survivors) / agreeing(agree, weights)
    return survivors.abs().amax(0, keepdim=True) * sign


def fused(taus: Taus, survey: float, combine: str = "mean") -> tuple[Deltas, None]:
    """merge() compiled, for mean and sum."""
    if combine not in ("mean", "sum"):
        return merge(taus, survey, combine), None
    from tadrop.numerics.kernels import formulas as kernels

    result = torch.empty_like(taus[:1])
    flat = taus.view(len(taus), -1).numpy()
    kernels.ties(flat, survey, combine == "mean", result.view(-1).numpy())
    return result, None


@dataclass(frozen=True)
class Running(Arriving):
    """The merge of what has arrived: sums and counts of each sign, per entry.

    combine: mean or sum
    """

    combine: str = "mean"

    def arrive(self, state: State, tau: Tau, layout: MatrixLayout) -> State:
        """See Arriving. Raises TadropError for another combine."""
        check_offered("combine", self.combine, ("mean", "sum"))
        parts = {
            "above": tau.clamp(min=0),
            "below": tau.clamp(max=0),
            "ups": (tau > 0).int(),
            "downs": (tau < 0).int(),
        }
        for name, kept in state.items():
            parts[name] = kept + parts[name]
        return parts

    def survey(self, states: Iterable[State]) -> float:
        """The majority sign: see the function of this name."""
        balance = 0
        for state in states:
            signs = torch.sign(state["above"] + state["below"])
            balance += int(signs.sum(dtype=torch.float64))
        return float((balance > 0) - (balance < 0))

    def merged(self, state: State, survey: float) -> Deltas:
        """See Arriving."""
        sign = torch.sign(state["above"] + state["below"])
        is_up = torch.where(sign == 0, survey, sign) > 0
        sums = torch.where(is_up, state["above"], state["below"])
        if self.combine == "sum":
            return sums[None]
        counts = torch.where(is_up, state["ups"], state["downs"])
        return (sums / counts.clamp(min=1))[None]
