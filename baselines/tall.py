"""TALL-masks and Consensus merging (arXiv 2405.07813), on the sum of task vectors or on
TIES.

A task's mask is |tau_t| > lambda_t |tau_mt - tau_t|, strict, against the unscaled
multi-task vector
tau_mt: the sum, or TIES with disjoint sum. The TALL-mask model of a task is its mask
times tau_mt; consensus keeps the entries that at least `threshold` masks hold, for all
tasks alike. With TIES the masks compare the untrimmed task vectors with a tau_mt made
of the trimmed ones, as in the authors' code, so the trim (or TADrop in its place) does
not touch them.

lambda_t is chosen per task on validation data by the authors (0.2 to 0.6); without
selection one value serves all. FusionBench's port compares weights with task vectors
and is another method.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines import ties
from tadrop.numerics.ops import along, total
from tadrop.types import Deltas, Masked, TadropError, Taus


def masks(taus: Taus, multi: Deltas, lambdas: float | Sequence[float]) -> Tensor:
    """[T, *shape] bool. lambdas: one for all tasks, or one for each in their order."""
    values = (
        [lambdas] * len(taus) if isinstance(lambdas, int | float) else list(lambdas)
    )
    if len(values) != len(taus):
        raise TadropError(f"lambdas has {len(values)} values for {len(taus)} tasks")
    return taus.abs() > along(torch.tensor(values), taus) * (multi - taus).abs()


def merge(taus: Taus, lambdas: float | Sequence[float] = 0.4) -> Masked:
    """The sum, masked for each task."""
    multi = total(taus)
    return Masked(multi[0], masks(taus, multi, lambdas))


def merge_ties(
    taus: Taus, uncut: Taus, survey: float, lambdas: float | Sequence[float] = 0.4
) -> Masked:
    """TIES' disjoint sum of the trimmed vectors, masked for each task by the untrimmed
    ones.
    """
    multi = ties.merge(taus, survey, combine="sum")
    return Masked(multi[0], masks(uncut, multi, lambdas))


def _agreed(masked: Masked, threshold: int) -> Deltas:
    return torch.where(masked.masks.sum(0) >= threshold, masked.shared, 0).unsqueeze(0)


def consensus(
    taus: Taus, lambdas: float | Sequence[float] = 0.4, threshold: int = 2
) -> Deltas:
    """The entries of the sum that at least `threshold` tasks' masks hold."""
    return _agreed(merge(taus, lambdas), threshold)


def consensus_ties(
    taus: Taus,
    uncut: Taus,
    survey: float,
    lambdas: float | Sequence[float] = 0.4,
    threshold: int = 2,
) -> Deltas:
    """The entries of TIES' disjoint sum that at least `threshold` tasks' masks hold."""
    return _agreed(merge_ties(taus, uncut, survey, lambdas), threshold)
