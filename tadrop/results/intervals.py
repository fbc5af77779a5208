"""Paired bootstrap over test examples: how far a difference of two averages could be an
accident of the test set.

Both rows saw the same examples, so each example gives one difference (right minus
right); examples are resampled within their task and tasks are averaged, as in the
table. Where a row has several seeds, an example's value is its mean over
them: the interval is about examples, and the spread over seeds is shown on its own.
Only as many distinct differences occur as there are seeds, so a resample is one
multinomial draw of their counts.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from tadrop.numerics.seeds import generator
from tadrop.results.record import Record, read_correct

RESAMPLES = 10_000
LEVEL = 0.95


def bootstrap(
    differences: Iterable[np.ndarray],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """The percentile interval of the mean over tasks of the mean difference; one array
    [examples] per task.
    """
    means = []
    for difference in differences:
        values, counts = np.unique(difference, return_counts=True)
        draws = rng.multinomial(counts.sum(), counts / counts.sum(), size=resamples)
        means.append(draws @ values / counts.sum())
    low, high = np.quantile(np.mean(means, axis=0), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired(
    folder: Path,
) -> Callable[[Sequence[Record], Sequence[Record]], tuple[float, float] | None]:
    """compare(records of one row, records of another) -> the interval of the difference
    in points.

    None where the pairing cannot be made: per-example values were not kept, or the two
    saw different examples.
    """

    def compare(
        ours: Sequence[Record], theirs: Sequence[Record]
    ) -> tuple[float, float] | None:
        if not all(
            (folder / f"{record['key']}.correct.npz").exists()
            for record in (*ours, *theirs)
        ):
            return None
        if len({_examples(record) for record in (*ours, *theirs)}) > 1:
            return None
        a, b = _mean_correct(folder, ours), _mean_correct(folder, theirs)
        tasks = [score["task"] for score in ours[0]["scores"]]
        if not a.keys() == b.keys() == set(tasks):
            return None
        rng = generator("bootstrap", *(record["key"] for record in (*ours, *theirs)))
        low, high = bootstrap((a[task] - b[task] for task in tasks), rng)
        return 100 * low, 100 * high

    return compare


def _examples(record: Record) -> tuple[tuple[str, int, str], ...]:
    """What a run was scored on: task, count and fingerprint of the data."""
    scores = record["scores"]
    return tuple(
        (s["task"], s["count"], record["data"][f"{s['task']}/{s['split']}"])
        for s in scores
    )


def _mean_correct(folder: Path, records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Each example's mean over the records, [examples] by task."""
    runs = [read_correct(folder, record) for record in records]
    return {task: np.mean([run[task] for run in runs], axis=0) for task in runs[0]}
