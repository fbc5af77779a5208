"""NPS-Pruning (arXiv 2505.18713): bands weighed by search, pruning, a searched mix.

1. A task vector is split by magnitude into bands of equal count over
   the whole model, tau_t = sum_m q_t,m (`weigh`).
2. CMA-ES looks for the weights w_t,m of these bands, all 1 at first,
   with which theta0 + sum_m w_t,m q_t,m does best on the task's own
   validation data (`weigh`).
3. The weighed vectors are pruned by magnitude. This is the row's
   sparsifier, so TADrop can take its place.
4. CMA-ES looks for one lambda_t a task, by the tasks' mean validation
   score (`mix`).

Three ways to fuse are offered:
- mean: sum lambda_t tau_t / sum lambda_t, the formula as printed, in
  which a factor common to all lambdas has no effect.
- disjoint: an entry is divided by the lambdas of the tasks that kept
  it, as the authors' earlier PCB-Merging does.
- sum: nothing is divided.

Data: the whole validation split of every task, with labels.

The authors' code could not be read, and neither the number of bands nor
the search's budget, step, bounds or calibration data are known.
`bands`, `evaluations`, `sigma` and the calibration data are our
choices. Of equal scores the first is taken, so that what no search
improves stays as it is. Both searches are seeded, and every value is
kept in the cache: a search that is stopped goes on where it was, and
one that was made before evaluates nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tadrop.numerics.quantile import spectrum
from tadrop.numerics.seeds import key
from tadrop.protocols.streams import Stream
from tadrop.protocols.workbench import Workbench
from tadrop.types import TadropError, Tau, Taus, Vector
from tadrop.vectors.derived import Derived
from tadrop.vectors.merged import Merged
from tadrop.vectors.passes import fingerprint

from . import search

TINY = 1e-12  # what a sum of lambdas is at least when something is divided by it


def edges(vector: Vector, bands: int) -> Tensor:
    """The magnitudes at which the 2nd to last band begin, ascending, [bands - 1].

    Equal magnitudes share a band.
    """
    ranks = [vector.size * band // bands for band in range(1, bands)]
    statistics = spectrum(vector).order_statistics(ranks)
    magnitudes = [statistic.value for statistic in statistics]
    return torch.tensor(magnitudes, dtype=torch.float32)


def weighed(tau: Tau, edges: Tensor, weights: Tensor) -> Tau:
    """Each entry times the weight of its band."""
    return tau * weights[torch.bucketize(tau.abs(), edges, right=True)]


@dataclass(frozen=True)
class Weighed(Derived):
    """A stream whose entries are weighed by their band.

    edges, weights: a tensor per task, on the stream's device
    found:          where the searches ended, for the record
    """

    edges: Sequence[Tensor]
    weights: Sequence[Tensor]
    told: Mapping[str, Any]

    @property
    def found(self) -> Mapping[str, Any]:
        """The band weights that the search settled on."""
        return self.told

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        """See Stream."""
        source = self.source.taus(name, start, stop)
        vectors = []
        for tau, edges, weights in zip(source, self.edges, self.weights, strict=True):
            vectors.append(weighed(tau, edges, weights))
        return torch.stack(vectors)

    def vector(self, task: int, name: str | None) -> Vector:
        """See Stream."""
        source = self.source.vector(task, name)
        edges, weights = self.edges[task], self.weights[task]

        def pieces() -> Iterator[Tensor]:
            for piece in source.pieces():
                yield weighed(piece, edges, weights)

        return replace(source, pieces=pieces)


def _model(
    stream: Stream,
    bench: Workbench,
    task: int,
    edges: Tensor,
    weights: Tensor,
) -> Iterator[tuple[str, Tensor]]:
    """theta0 plus a task's weighed vector, one tensor at a time."""
    for name in stream.names:
        pieces = list(stream.vector(task, name).pieces())
        tau = torch.cat(pieces).view(stream.shapes[name])
        yield name, bench.theta0(name) + weighed(tau, edges, weights)


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
    """Steps 1 and 2: the task vectors with the weights that suit each task alone."""
    if bands < 1:
        raise TadropError(f"bands is {bands}; a task vector has at least one")
    device = stream.device

    def row(weights: Sequence[float]) -> Tensor:
        return torch.tensor(weights, dtype=torch.float32, device=device)

    def search_task(index: int, edges: Tensor) -> search.Optimum:
        task = stream.tasks[index]
        vector = fingerprint([stream.vector(index, None)])

        def score(weights: Sequence[float]) -> float:
            bench.load(_model(stream, bench, index, edges, row(weights)))
            return bench.score(task, split)

        start, words = [1.0] * bands, key("nps", seed, task)
        with bench.trace(weigh, [task], split, words, sigma, bands, vector) as trace:
            value = search.traced(score, trace, on_step)
            return search.maximise(value, start, sigma, evaluations, words)

    task_edges, task_weights, optima = [], [], {}
    for index, task in enumerate(stream.tasks):
        own = edges(stream.vector(index, None), bands).to(device)
        optimum = search_task(index, own)
        task_edges.append(own)
        task_weights.append(row(optimum.point))
        optima[task] = vars(optimum)
    return Weighed(stream, task_edges, task_weights, {"bands": optima})


def _sum(taus: Taus, lambdas: Tensor) -> Tau:
    return torch.tensordot(lambdas, taus, dims=1)


def _mean(taus: Taus, lambdas: Tensor) -> Tau:
    return _sum(taus, lambdas / lambdas.sum().clamp(min=TINY))


def _disjoint(taus: Taus, lambdas: Tensor) -> Tau:
    kept = (taus != 0).float()
    return _sum(taus, lambdas) / _sum(kept, lambdas).clamp(min=TINY)


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

    start: every lambda at first
    fuse:  mean, disjoint or sum
    """
    if fuse not in FUSE:
        raise TadropError(f"fuse is {fuse!r}; it must be one of {', '.join(FUSE)}")
    tasks, device = stream.tasks, stream.device

    def deltas(lambdas: Sequence[float]) -> Iterator[tuple[str, Tau]]:
        row = torch.tensor(lambdas, dtype=torch.float32, device=device)
        for name in stream.names:
            yield name, FUSE[fuse](stream.taus(name), row)

    def weights(lambdas: Sequence[float]) -> Iterator[tuple[str, Tensor]]:
        for name, delta in deltas(lambdas):
            yield name, bench.theta0(name) + scale * delta

    def score(lambdas: Sequence[float]) -> float:
        bench.load(weights(lambdas))
        return sum(bench.score(task, split) for task in tasks) / len(tasks)

    words = key("nps", seed, "lambdas")
    vectors = fingerprint(stream.vector(index, None) for index in range(len(tasks)))
    settings = (words, sigma, start, fuse, scale, vectors)
    with bench.trace(mix, tasks, split, *settings) as trace:
        value = search.traced(score, trace, on_step)
        optimum = search.maximise(
            value, [start] * len(tasks), sigma, evaluations, words, lowest=0.0
        )
    lambdas = dict(zip(tasks, optimum.point, strict=True))
    mixed = {}
    for name, delta in deltas(optimum.point):
        mixed[name] = delta[None]
    found = {"lambdas": vars(optimum) | {"point": lambdas}}
    return replace(merged, deltas=mixed, found=found)
