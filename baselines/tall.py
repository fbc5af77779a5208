"""TALL-masks and Consensus merging (arXiv 2405.07813), on the sum or on TIES.

A task's mask, strict, is

    |tau_t| > lambda_t |tau_mt - tau_t|

against the unscaled multi-task vector tau_mt, which is the sum of task
vectors or TIES with disjoint sum. The TALL-mask model of a task is its
mask times tau_mt, and needs the task id. Consensus keeps the entries
that at least `threshold` masks hold, for all tasks alike.

With TIES the masks compare the untrimmed task vectors with a tau_mt
made of the trimmed ones, as in the authors' code, so the trim (or
TADrop in its place) does not touch them.

The authors choose lambda_t per task on validation data, from 0.2 to
0.6. Without selection one value serves all tasks and the formulas see
no data. FusionBench's port compares weights with task vectors and is
another method.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from tadrop.numerics.ops import along, total
from tadrop.types import Deltas, Masked, TadropError, Taus

from . import ties

Lambdas = float | Sequence[float]  # one for all tasks, or one for each in their order


def masks(
    taus: Taus,
    multi: Deltas,
    lambdas: Lambdas,
    order: Sequence[int] | None = None,
) -> Bool[Tensor, "task *shape"]:
    """Which entries of the multi-task vector each task uses.

    order: which task each of several lambdas is of; None: as taus are
    """
    tasks = len(taus)
    if isinstance(lambdas, int | float):
        lambdas = [lambdas] * tasks
    if len(lambdas) != tasks:
        raise TadropError(f"lambdas has {len(lambdas)} values for {tasks} tasks")
    of_task = torch.tensor(list(lambdas))
    if order is not None:
        of_task = of_task[torch.tensor(order).argsort()]
    of_task = along(of_task, taus)
    return taus.abs() > of_task * (multi - taus).abs()


def merge(
    taus: Taus,
    lambdas: Lambdas = 0.4,
    order: Sequence[int] | None = None,
) -> Masked:
    """The sum, masked for each task. order: see masks"""
    multi = total(taus)
    return Masked(multi[0], masks(taus, multi, lambdas, order))


def merge_ties(
    taus: Taus,
    uncut: Taus,
    survey: float,
    lambdas: Lambdas = 0.4,
    order: Sequence[int] | None = None,
) -> Masked:
    """TIES' disjoint sum of the trimmed vectors, masked by the untrimmed ones."""
    multi = ties.merge(taus, survey, combine="sum")
    return Masked(multi[0], masks(uncut, multi, lambdas, order))


def _agreed(masked: Masked, threshold: int) -> Deltas:
    """The entries that at least `threshold` masks hold."""
    votes = masked.masks.sum(0)
    return torch.where(votes >= threshold, masked.shared, 0).unsqueeze(0)


def consensus(
    taus: Taus,
    lambdas: Lambdas = 0.4,
    threshold: int = 2,
    order: Sequence[int] | None = None,
) -> Deltas:
    """The entries of the sum that at least `threshold` tasks' masks hold."""
    return _agreed(merge(taus, lambdas, order), threshold)


def consensus_ties(
    taus: Taus,
    uncut: Taus,
    survey: float,
    lambdas: Lambdas = 0.4,
    threshold: int = 2,
    order: Sequence[int] | None = None,
) -> Deltas:
    """The entries of TIES' disjoint sum that at least `threshold` tasks' masks hold."""
    return _agreed(merge_ties(taus, uncut, survey, lambdas, order), threshold)
