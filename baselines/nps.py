"""NPS-Pruning (arXiv 2505.18713): magnitude bands of each task vector weighed by
search, pruning, a searched mix.

1. A task vector is split by magnitude into bands of equal count over the whole model,
   tau_t = sum_m q_t,m (`weigh`). 2. CMA-ES looks for the weights w_t,m, all 1 at first,
   with which theta0 + sum_m w_t,m q_t,m does best on the task's own validation data
   (`weigh`).
3. The weighed vectors are pruned by magnitude: the row's sparsifier, so that TADrop can
   stand in for it. 4. CMA-ES looks for one lambda_t a task, by the tasks' mean
   validation score (`mix`). fuse=mean, the formula as printed, is sum lambda_t tau_t /
   sum lambda_t, in which a factor common to all lambdas has no effect. fuse=disjoint
   divides an entry by the lambdas of the tasks that kept it, as its authors' earlier
   PCB-Merging does; fuse=sum not at all.

The authors' code could not be read, and neither the number of bands nor the search's
budget, step, bounds or calibration data are known: `bands`, `evaluations` and `sigma`
are our choices, the calibration data is the whole validation split. Of equal scores the
first found is taken, so that what no search improves stays as it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from cmaes import CMA
from torch import Tensor

from tadrop.numerics.quantile import spectrum
from tadrop.numerics.seeds import key
from tadrop.protocols import Derived, Stream, Workbench
from tadrop.types import TadropError, Tau, Taus, Vector
from tadrop.vectors.merged import Merged
from tadrop.vectors.passes import device_of

TINY = 1e-12  # what a sum of lambdas is at least when something is divided by it


@dataclass(frozen=True)
class Found:
    """Where a search ended: the best point, its value, and how many points were tried."""

    point: tuple[float, ...]
    value: float
    evaluations: int


def search(
    value: Callable[[Sequence[float]], float],
    start: Sequence[float],
    sigma: float,
    evaluations: int,
    seed: int,
    lowest: float = -np.inf,
) -> Found:
    """The point of the largest value that CMA-ES meets in at most so many evaluations,
    the start being the first.

    The library's own population size; a generation that the budget does not cover is
    not begun.
    seed: up to 64 bits.
    """
    best = Found(tuple(start), value(start), 1)
    bounds = np.tile([lowest, np.inf], (len(start), 1))
    optimizer = CMA(np.array(start, dtype=np.float64), sigma, bounds, seed=seed % 2**32)
    while (
        best.evaluations + optimizer.population_size <= evaluations
        and not optimizer.should_stop()
    ):
        tried = [
            (point, value(point.tolist()))
            for point in (optimizer.ask() for _ in range(optimizer.population_size))
        ]
        optimizer.tell([(point, -v) for point, v in tried])
        point, top = max(tried, key=lambda pair: pair[1])
        best = replace(best, evaluations=best.evaluations + len(tried))
        if top > best.value:
            best = replace(best, point=tuple(point.tolist()), value=top)
    return best


def edges(vector: Vector, bands: int) -> Tensor:
    """The magnitudes at which the 2nd to last band begin, ascending, [bands - 1]; equal
    magnitudes share a band.
    """
    ranks = [vector.size * band // bands for band in range(1, bands)]
    return torch.tensor(
        [found.value for found in spectrum(vector).order_statistics(ranks)],
        dtype=torch.float32,
    )


def weighed(tau: Tau, edges: Tensor, weights: Tensor) -> Tau:
    """Each entry times the weight of its band."""
    return tau * weights[torch.bucketize(tau.abs(), edges, right=True)]


@dataclass(frozen=True)
class Weighed(Derived):
    """A stream whose entries are weighed by band. edges, weights: a tensor per task, on
    the stream's device.
    """

    edges: Sequence[Tensor]
    weights: Sequence[Tensor]
    found: Mapping[str, Any]

    @property
    def uncut(self) -> Stream:
        return self

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        """See Stream."""
        rows = self.source.taus(name, start, stop)
        return torch.stack(
            [
                weighed(*each)
                for each in zip(rows, self.edges, self.weights, strict=True)
            ]
        )

    def vector(self, task: int, name: str | None) -> Vector:
        """See Stream."""
        source, own = (
            self.source.vector(task, name),
            (self.edges[task], self.weights[task]),
        )
        return replace(
            source, pieces=lambda: (weighed(piece, *own) for piece in source.pieces())
        )


def weigh(
    stream: Stream,
    bench: Workbench,
    on_step: Callable[[], None],
    *,
    split: str,
    seed: int,
    bands: int,
    evaluations: int,
    sigma: float,
) -> Weighed:
    """Steps 1 and 2: the task vectors with the band weights that suit each task alone."""
    if bands < 1:
        raise TadropError(f"bands is {bands}; a task vector has at least one")
    device, ends, results = device_of(stream), [], {}
    for index, task in enumerate(stream.tasks):
        ends.append(edges(stream.vector(index, None), bands).to(device))

        def value(
            weights: Sequence[float], index: int = index, task: str = task
        ) -> float:
            own = (
                ends[index],
                torch.tensor(weights, dtype=torch.float32, device=device),
            )
            bench.load(
                (n, bench.theta0(n) + weighed(tau, *own))
                for n, tau in _one(stream, index)
            )
            on_step()
            return bench.score(task, split)

        results[task] = search(
            value, [1.0] * bands, sigma, evaluations, key("nps", seed, task)
        )
    weights = [
        torch.tensor(found.point, dtype=torch.float32, device=device)
        for found in results.values()
    ]
    told = {"bands": {task: vars(found) for task, found in results.items()}}
    return Weighed(stream, ends, weights, told)


def _one(stream: Stream, task: int) -> Iterator[tuple[str, Tau]]:
    """One task's tensors, one at a time."""
    for name in stream.names:
        pieces = list(stream.vector(task, name).pieces())
        yield name, torch.cat(pieces).view(stream.shapes[name])


def _sum(taus: Taus, lambdas: Tensor) -> Tau:
    return torch.tensordot(lambdas, taus, dims=1)


def _mean(taus: Taus, lambdas: Tensor) -> Tau:
    return _sum(taus, lambdas / lambdas.sum().clamp(min=TINY))


def _disjoint(taus: Taus, lambdas: Tensor) -> Tau:
    return _sum(taus, lambdas) / _sum((taus != 0).float(), lambdas).clamp(min=TINY)


FUSE = {"mean": _mean, "disjoint": _disjoint, "sum": _sum}


def mix(
    merged: Merged,
    stream: Stream,
    bench: Workbench,
    scale: float,
    on_step: Callable[[], None],
    *,
    split: str,
    seed: int,
    evaluations: int,
    sigma: float,
    start: float,
    fuse: str,
) -> Merged:
    """Step 4: the task vectors with the lambdas that suit all tasks, before the scale.
    fuse: mean, disjoint or sum.
    """
    if fuse not in FUSE:
        raise TadropError(f"fuse is {fuse!r}; it must be one of {', '.join(FUSE)}")

    def deltas(lambdas: Sequence[float]) -> Iterator[tuple[str, Tau]]:
        row = torch.tensor(lambdas, dtype=torch.float32, device=device_of(stream))
        return ((name, FUSE[fuse](stream.taus(name), row)) for name in stream.names)

    def value(lambdas: Sequence[float]) -> float:
        bench.load(
            (name, bench.theta0(name) + scale * delta)
            for name, delta in deltas(lambdas)
        )
        on_step()
        return sum(bench.score(task, split) for task in stream.tasks) / len(
            stream.tasks
        )

    found = search(
        value,
        [start] * len(stream.tasks),
        sigma,
        evaluations,
        key("nps", seed, "lambdas"),
        lowest=0.0,
    )
    told = {
        "lambdas": vars(found)
        | {"point": dict(zip(stream.tasks, found.point, strict=True))}
    }
    return replace(
        merged, deltas={n: delta[None] for n, delta in deltas(found.point)}, found=told
    )
