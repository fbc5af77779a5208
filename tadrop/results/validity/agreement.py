"""How alike two tables rank the methods that stand in both.

Kendall's tau-b counts the pairs of methods that both tables order alike, Pearson's r
asks whether their averages lie on a line. The methods are resampled for the intervals:
they say how far another choice of methods could have led, and nothing of other models
or tasks.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from tadrop.numerics.seeds import generator
from tadrop.results.intervals import Interval, percentiles

RESAMPLES = 2_000
LEAST = 4  # methods of which an agreement can be said

# The average of each method of a table, in percent, by the name of its row.
Averages = Mapping[str, float]


@dataclass(frozen=True)
class Agreement:
    """What two tables have in common.

    names: the methods that stand in both, in the order of the first table's averages
    one, other: their averages, [method]
    tau, r: Kendall's tau-b and Pearson's r, each with its interval
    """

    names: tuple[str, ...]
    one: np.ndarray
    other: np.ndarray
    tau: float
    tau_interval: Interval
    r: float
    r_interval: Interval

    def apart(self) -> list[tuple[str, int, int]]:
        """Each method with its ranks in both tables, those that differ most first.

        Rank 1 is the best of the methods that stand in both.
        """
        ranks = zip(self.names, _ranks(self.one), _ranks(self.other), strict=True)
        return sorted(ranks, key=_distance, reverse=True)


def _ranks(values: np.ndarray) -> list[int]:
    """The rank of each value, 1 for the largest;
    equal ones are ranked as they stand.
    """
    order = np.argsort(-values, kind="stable")
    ranks = np.empty(len(values), int)
    ranks[order] = np.arange(1, len(values) + 1)
    return ranks.tolist()


def _distance(ranked: tuple[str, int, int]) -> int:
    return abs(ranked[1] - ranked[2])


def agreement(
    one: Averages, other: Averages, without: Collection[str] = ()
) -> Agreement | None:
    """How alike two tables rank the methods of both; None for fewer than LEAST.

    without: methods that are left out
    """
    common = [name for name in one if name in other and name not in without]
    if len(common) < LEAST:
        return None
    names = tuple(sorted(common, key=one.__getitem__, reverse=True))
    ours = np.array([one[name] for name in names])
    theirs = np.array([other[name] for name in names])
    taus, rs = _resampled(ours, theirs)
    return Agreement(
        names=names,
        one=ours,
        other=theirs,
        tau=_tau(ours, theirs),
        tau_interval=percentiles(taus),
        r=_r(ours, theirs),
        r_interval=percentiles(rs),
    )


def _tau(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.asarray(kendalltau(one, other))[0])


def _r(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def _resampled(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """tau and r of methods drawn with replacement, [RESAMPLES] each.

    A draw of one method over and over, of which neither can be said, is left out.
    """
    rng = generator("bootstrap")
    taus: list[float] = []
    rs: list[float] = []
    for drawn in rng.integers(0, len(one), size=(RESAMPLES, len(one))):
        ours, theirs = one[drawn], other[drawn]
        if np.ptp(ours) and np.ptp(theirs):
            taus.append(_tau(ours, theirs))
            rs.append(_r(ours, theirs))
    return np.array(taus), np.array(rs)
