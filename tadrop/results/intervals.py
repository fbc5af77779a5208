"""Paired bootstrap over test examples: how far two averages could differ by accident.

Both rows saw the same examples, so each example gives one difference (right minus
right); examples are resampled within their task and tasks are averaged, as in the
table. Where a row has several seeds, an example's value is its mean over
them: the interval is about examples, and the spread over seeds is shown on its own.
Only as many distinct differences occur as there are seeds, so a resample is one
multinomial draw of their counts.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np

from tadrop.numerics.seeds import generator
from tadrop.results.record import Record, read_correct

RESAMPLES = 10_000
LEVEL = 0.95

Interval = tuple[float, float]
# The interval of the difference between a row and its base, from the records of both.
Compare = Callable[[Sequence[Record], Sequence[Record]], Interval | None]


def side(interval: Interval) -> int:
    """1 for an interval above zero, -1 for one below it, 0 for one that holds zero.

    Ends count as tables print them, to a tenth of a point: one that ends at -0.0 claims
    nothing.
    """
    low, high = round(interval[0], 1), round(interval[1], 1)
    return (low > 0) - (high < 0)


def bootstrap(
    differences: Iterable[np.ndarray],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The percentile interval of the mean over tasks of the mean difference.

    differences: one array [examples] per task
    """
    means = []
    for difference in differences:
        values, counts = np.unique(difference, return_counts=True)
        draws = rng.multinomial(counts.sum(), counts / counts.sum(), size=resamples)
        means.append(draws @ values / counts.sum())
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(np.mean(means, axis=0), ends)
    return float(low), float(high)


def paired(folder: Path) -> Compare:
    """The comparison of two rows whose records lie in a folder, in points.

    It gives None where the pairing cannot be made: per-example values were not kept, or
    the two rows saw different examples.
    """
    return partial(_interval, folder)


def _interval(
    folder: Path, row: Sequence[Record], base: Sequence[Record]
) -> Interval | None:
    """The interval of a row's average less that of its base, in points."""
    records = (*row, *base)
    for record in records:
        if not (folder / f"{record['key']}.correct.npz").exists():
            return None
    if len(set(map(_examples, records))) > 1:
        return None
    of_row, of_base = _mean_correct(folder, row), _mean_correct(folder, base)
    tasks = [score["task"] for score in row[0]["scores"]]
    if not of_row.keys() == of_base.keys() == set(tasks):
        return None
    # One seed for all: the same records give the same interval whatever they are called.
    rng = generator("bootstrap")
    low, high = bootstrap((of_row[task] - of_base[task] for task in tasks), rng)
    return 100 * low, 100 * high


def _examples(record: Record) -> tuple[tuple[str, int, str], ...]:
    """What a run was scored on: task, count and fingerprint of the data."""
    examples = []
    for score in record["scores"]:
        data = record["data"][f"{score['task']}/{score['split']}"]
        examples.append((score["task"], score["count"], data))
    return tuple(examples)


def _mean_correct(folder: Path, records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Each example's mean over the records, [examples] by task."""
    runs = [read_correct(folder, record) for record in records]
    means: dict[str, np.ndarray] = {}
    for task in runs[0]:
        means[task] = np.mean(list(map(itemgetter(task), runs)), axis=0)
    return means
