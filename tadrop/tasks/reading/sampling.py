"""Which rows of a data set belong to a split, and which of them a limit takes.

Validation is a seeded tenth of train, at most 5,000 rows. A limit takes a seeded sample
of the whole split, which may be sorted by class. Of parquet files it takes ten rows
each from row groups in a seeded order, so that only these groups are read: about
N / 10 of the usual 100 to 1,000 rows.
"""

from collections.abc import Sequence

import numpy as np

from tadrop.numerics.seeds import generator

VALIDATION = {"fraction": 0.1, "most": 5000, "seed": 0}
# With a limit, this many rows are drawn from a row group before another one is read.
PER_GROUP = 10


def validation_indices(count: int) -> set[int]:
    """Which rows of train are for validation: a seeded tenth, at most 5,000."""
    size = min(round(VALIDATION["fraction"] * count), int(VALIDATION["most"]))
    order = generator("validation", VALIDATION["seed"]).permutation(count)
    return set(order[:size].tolist())


def usable(count: int, split: str) -> np.ndarray:
    """The rows, ascending, of a source's train
    or test that are of the suite's split.
    """
    rows = np.arange(count)
    if split == "test":
        return rows
    held_out = np.isin(rows, list(validation_indices(count)))
    return rows[held_out == (split == "validation")]


def scattered(
    sizes: Sequence[int], rows: np.ndarray, limit: int
) -> list[tuple[int, list[int]]]:
    """A seeded sample of `limit` of these rows, from as few groups as PER_GROUP allows.

    sizes: rows of each group. Gives (group, rows in it) for each group that is read, in
    the order of the file. A larger limit takes the same rows and more.
    """
    ends = np.cumsum(sizes)
    rng = generator("limit", VALIDATION["seed"], len(sizes))
    draws = []
    for turn, group in enumerate(rng.permutation(len(sizes)).tolist()):
        start = ends[group] - sizes[group]
        inside = (rows >= start) & (rows < ends[group])
        order = rng.permutation(rows[inside] - start)
        for place, row in enumerate(order.tolist()):
            draws.append((place // PER_GROUP, turn, place, group, row))
    chosen: dict[int, list[int]] = {}
    for *_, group, row in sorted(draws)[:limit]:
        chosen.setdefault(group, []).append(row)
    return sorted(chosen.items())


def sample(count: int, limit: int) -> list[int]:
    """A seeded choice of `limit` rows."""
    order = generator("limit", VALIDATION["seed"]).permutation(count)
    return order[:limit].tolist()
