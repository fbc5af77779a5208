"""The search by CMA-ES that methods without gradients share.

It is seeded, and what it proposes follows from the values alone: a
search whose values are kept (Workbench.trace) can be stopped and goes
on where it was. Of equal values the first point is taken, so that what no search
improves stays as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from cmaes import CMA

from tadrop.protocols.workbench import Trace

Value = Callable[[Sequence[float]], float]


@dataclass(frozen=True)
class Optimum:
    """Where a search ended: the best point, its value, and how many were evaluated.

    trace: the value of every point, in the order of evaluation
    """

    point: tuple[float, ...]
    value: float
    evaluations: int
    trace: tuple[float, ...]


def maximise(
    value: Value,
    start: Sequence[float],
    sigma: float,
    evaluations: int,
    seed: int,
    lowest: float = -inf,
) -> Optimum:
    """The point of the largest value that CMA-ES meets; the start is the first.

    sigma:       the standard deviation of the first generation
    evaluations: how many points are evaluated at most; a generation, of
                 the library's own size, that this does not cover is not
                 begun
    seed:        up to 64 bits
    lowest:      the least that a coordinate may be
    """
    bounds = np.tile([lowest, inf], (len(start), 1))
    mean = np.array(start, dtype=np.float64)
    optimizer = CMA(mean, sigma, bounds, seed=seed % 2**32)
    size = optimizer.population_size
    best, best_value = tuple(start), value(start)
    trace = [best_value]
    while len(trace) + size <= evaluations and not optimizer.should_stop():
        losses = []
        for _ in range(size):
            point = optimizer.ask()
            point_value = value(point.tolist())
            trace.append(point_value)
            losses.append((point, -point_value))
            if point_value > best_value:
                best, best_value = tuple(point.tolist()), point_value
        optimizer.tell(losses)
    return Optimum(best, best_value, len(trace), tuple(trace))


def traced(value: Value, trace: Trace, on_step: Callable[[], None]) -> Value:
    """The values that a trace knows, others made and noted; on_step is told of each."""

    def known(point: Sequence[float]) -> float:
        on_step()
        return trace.value(point, value)

    return known
