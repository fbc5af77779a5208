"""Paired bootstrap: how far two averages could differ by accident.

Both rows saw the same examples, so each example gives one difference (right minus
right); examples are resampled within their task and tasks are averaged, as in the
table. Where a row has several seeds, an example's value is its mean over
them: the interval is about examples, and the spread over seeds is shown on its own.
Only as many distinct differences occur as there are seeds, so a resample is one
multinomial draw of their counts.

Where a row has several sets of models, trained from seeds of their own, a resample also
draws as many sets, and as many tasks, with replacement: the interval is then about other
models and other tasks of the same kinds. Sets, tasks and the examples of a task are
crossed, since every set is measured on the same examples: one draw of examples holds for
all sets. Of few sets the bootstrap knows little: with n sets it shows a share (n - 1) / n
of the variance between them.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np

from tadrop.numerics.seeds import generator
from tadrop.results.identity import training_seed
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
    means = _resampled(differences, rng, resamples)
    return percentiles(np.mean(means, axis=0), level)


def crossed_bootstrap(
    differences: Iterable[np.ndarray],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The percentile interval of the mean difference over sets, tasks and examples.

    differences: one array [examples, sets] per task; of equally many sets
    """
    by_task = np.stack(
        _resampled(differences, rng, resamples)
    )  # [tasks, resamples, sets]
    tasks = _shares(rng, by_task.shape[0], resamples)
    sets = _shares(rng, by_task.shape[2], resamples)
    return percentiles(np.einsum("trs,rt,rs->r", by_task, tasks, sets), level)


def _resampled(
    differences: Iterable[np.ndarray], rng: np.random.Generator, resamples: int
) -> list[np.ndarray]:
    """The mean difference of each task's resamples, [resamples] or [resamples, sets]."""
    means: list[np.ndarray] = []
    for difference in differences:
        values, counts = np.unique(difference, axis=0, return_counts=True)
        draws = rng.multinomial(counts.sum(), counts / counts.sum(), size=resamples)
        means.append(draws @ values / counts.sum())
    return means


def percentiles(values: np.ndarray, level: float = LEVEL) -> Interval:
    """The ends of the middle share of resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _shares(rng: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """How often each of so many things is drawn with replacement, [resamples, count]."""
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count


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
    sets, sets_of_base = _by_set(row), _by_set(base)
    if sets.keys() != sets_of_base.keys():
        return None
    tasks = [score["task"] for score in row[0]["scores"]]
    differences: list[dict[str, np.ndarray]] = []
    for seed, group in sets.items():
        of_row = _mean_correct(folder, group)
        of_base = _mean_correct(folder, sets_of_base[seed])
        if not of_row.keys() == of_base.keys() == set(tasks):
            return None
        differences.append({task: of_row[task] - of_base[task] for task in tasks})
    # One seed for all: the same records give the same interval whatever they are called.
    rng = generator("bootstrap")
    if len(differences) == 1:
        low, high = bootstrap(differences[0].values(), rng)
    else:
        by_task = map(partial(_across, differences), tasks)
        low, high = crossed_bootstrap(by_task, rng)
    return 100 * low, 100 * high


def _by_set(records: Sequence[Record]) -> dict[int, list[Record]]:
    """Records by the seed with which their models were trained, ascending."""
    sets: dict[int, list[Record]] = {}
    for record in records:
        sets.setdefault(training_seed(record["config"]), []).append(record)
    return dict(sorted(sets.items()))


def _across(differences: Sequence[dict[str, np.ndarray]], task: str) -> np.ndarray:
    """The differences of a task in every set, [examples, sets]."""
    return np.stack(list(map(itemgetter(task), differences)), axis=1)


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
