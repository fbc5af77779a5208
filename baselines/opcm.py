"""OPCM (arXiv 2501.09522): models arrive one by one, projected off what is merged.

For each linear layer the arriving tau_t is expressed in the singular
vectors of the merged matrix so far. Its diagonal is removed, and its
block of the r first directions, those that hold more than `share` of
the singular values' sum. Other tensors are added as they are. It sees
no data.

After each arrival the authors divide the whole merged vector by
lambda_t = ||v_t|| / mean ||tau_1..t||, and multiply by it again at the
next. Singular vectors do not change with a factor. So the recursion is

    v_t = v_{t-1} + projected tau_t

with one factor mean_t ||tau_t|| / ||v_T|| over the whole model at the
end. That is exact, and takes one pass.

The order of arrival is drawn by seed and task name, so that it does not
depend on how the tasks are listed. `rank` code is the 0-based index of
the first place where the cumulative share exceeds `share`; docs is one
more, the smallest sufficient rank that the documentation names.

Departures:
- Dead directions (tadrop/numerics/linalg.py) are not projected out.
- Parameters that belong to no layer object (CLIP's class embedding) are
  merged like the others. The reference code forgets to merge them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tadrop.numerics.linalg import svd
from tadrop.numerics.ops import rows
from tadrop.numerics.seeds import generator
from tadrop.protocols.streams import Stream
from tadrop.types import Deltas, MatrixLayout, TadropError, Tau, Taus
from tadrop.vectors.arriving import Arriving, State


def order(stream: Stream, seed: int = 0) -> list[int]:
    """The indices of the tasks in the order of their arrival."""
    draws = [generator("opcm", seed, task).random() for task in stream.tasks]
    return sorted(range(len(draws)), key=draws.__getitem__)


def project(merged: Tensor, tau: Tensor, share: float, rank: str) -> Tensor:
    """tau without its part along the merged matrix's directions; float64."""
    left, values, right = svd(merged)
    inside = left.mT @ tau @ right.mT
    exceeds = values.cumsum(0) > share * values.sum()
    r = 0
    if values.any():
        r = int((~exceeds).sum()) + (rank == "docs")
    removed = torch.diag(inside.diagonal())
    removed[:r, :r] = inside[:r, :r]
    return tau - left @ removed @ right


def merge(
    taus: Taus,
    survey: list[int],
    share: float = 0.5,
    rank: str = "code",
) -> Deltas:
    """v_T of one linear layer.

    survey: the order of arrival
    share:  the paper's alpha
    rank:   code or docs
    """
    if rank not in ("code", "docs"):
        raise TadropError(f"rank is {rank!r}; it must be code or docs")
    first, *others = survey
    merged = taus[first].double()
    for task in others:
        tau = taus[task].double()
        merged = merged + project(merged, tau, share, rank)
    return merged.to(taus.dtype).unsqueeze(0)


def tally(taus: Taus, merged: Deltas) -> Tensor:
    """Squared norms of the task vectors and of the merged one; [2, T] float64."""
    squares = rows(taus).double().square().sum(1)
    square = merged.double().square().sum()
    return torch.stack([squares, square.expand_as(squares)])


def rescale(sums: Tensor, sizes: Tensor) -> Tensor:
    """mean ||tau_t|| / ||v_T|| over the whole model, [1];
    1 where nothing was merged.
    """
    taus, merged = sums.sum(0).sqrt()
    return torch.where(merged[:1] > 0, taus.mean() / merged[:1], 1.0).float()


@dataclass(frozen=True)
class Running(Arriving):
    """v_t of what has arrived, and the squared norm of each task's vector.

    share, rank: see merge; kinds: of the matrices that are projected
    """

    share: float = 0.5
    rank: str = "code"
    kinds: Sequence[str] = ("linear",)

    def arrive(self, state: State, tau: Tau, layout: MatrixLayout) -> State:
        """See Arriving."""
        square = tau.double().square().sum()[None]
        if not state:
            return {"sum": tau.double(), "squares": square}
        squares = torch.cat([state["squares"], square])
        added = tau.double()
        if layout.kind in self.kinds:
            both = torch.stack([state["sum"], added])
            before, arriving = layout.split(both, "whole")[0]
            projected = project(before, arriving, self.share, self.rank)
            added = layout.join([projected[None]])[0]
        return {"sum": state["sum"] + added, "squares": squares}

    def merged(self, state: State, survey: object) -> Deltas:
        """See Arriving."""
        return state["sum"].float()[None]

    def tally(self, state: State, merged: Deltas) -> Tensor:
        """See the function of this name."""
        square = state["sum"].square().sum()
        return torch.stack([state["squares"], square.expand_as(state["squares"])])
