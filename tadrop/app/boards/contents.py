"""What is shown of a board: its tables and figures, from its records."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tadrop.app.boards.recorded import Recorded
from tadrop.results import published, record, table
from tadrop.results.figures import arrivals, averages, methods, sweeps, tensors
from tadrop.results.figures.boards import accuracy_against_storage
from tadrop.results.figures.compression import accuracy_against_bytes
from tadrop.results.identity import variant
from tadrop.results.intervals import Interval, paired
from tadrop.results.published import Published
from tadrop.results.record import Record
from tadrop.results.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BARS = 6  # more methods than this are lines of a dot plot
MOST_LINES = 40  # settings in one figure; a table of more than these is better read
MOST_DUMBBELLS = 4  # methods drawn task by task

Pair = tuple[tuple[str, ...], tuple[str, ...]]  # the keys of two rows


class Drawn(NamedTuple):
    """A figure of the table or board of a name, and what it shows."""

    of: str
    what: str
    figure: "Figure"


@dataclass(frozen=True)
class Sources:
    """What tables are made of beside a board's records.

    folder: where the records lie
    published: the folder of published numbers; none stand in a table without it
    """

    folder: Path
    published: Path
    _intervals: dict[Pair, Interval | None] = field(default_factory=dict)

    @cached_property
    def facts(self) -> list[Published]:
        """The published numbers."""
        return published.read(self.published) if self.published.is_dir() else []

    def compare(self, row: Sequence[Record], base: Sequence[Record]) -> Interval | None:
        """The interval between two rows, drawn once: boards share many rows."""
        keys = _keys(row), _keys(base)
        if keys not in self._intervals:
            self._intervals[keys] = paired(self.folder)(row, base)
        return self._intervals[keys]


def _keys(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(map(itemgetter("key"), records))


def contents(
    found: Recorded, sources: Sources, draw: bool = True
) -> tuple[dict[str, Table], list[Drawn]]:
    """A board's tables by the names of their files, one a task set, and its figures."""
    file = found.board.file
    if found.board.is_ranked:
        ranking = ranked(found.records, sources)
        if not draw:
            return {file: ranking}, []
        storage = accuracy_against_storage(ranking)
        return {file: ranking}, [Drawn(file, "storage", storage)]
    tables: dict[str, Table] = {}
    drawn: list[Drawn] = []
    for name, group in by_task_set(file, found.records).items():
        tables[name] = table_of(group, sources)
        if draw:
            for what, figure in figures_of(tables[name], group, sources.folder):
                drawn.append(Drawn(name, what, figure))
    if not draw:
        return tables, drawn
    counts = sweeps.task_counts(list(tables.values()))
    if counts is not None:
        drawn.append(Drawn(file, "counts", counts))
    return tables, drawn


def by_task_set(file: str, records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of each task set, by file name;
    with the count where there are several.
    """
    groups: dict[int, list[Record]] = {}
    for one in records:
        groups.setdefault(len(one["config"]["tasks"]["names"]), []).append(one)
    if len(groups) == 1:
        return {file: list(records)}
    names = [f"{file}_{count}" for count in groups]
    return dict(zip(names, groups.values(), strict=True))


def table_of(records: Sequence[Record], sources: Sources) -> Table:
    """Our rows with intervals, published ones beside them."""
    ours = table.build(records, compare=sources.compare)
    config = records[0]["config"]
    model, tasks = config["model"], config["tasks"].get("name", "")
    about = published.about(sources.facts, model["name"], tasks, model.get("source"))
    return published.beside(ours, about)


def ranked(records: Sequence[Record], sources: Sources) -> Table:
    """The table with the best method first, and what every row saw and stores.

    A method is judged by its row without TADrop, or by its best row where there is none.
    """
    best: dict[str, tuple[bool, float]] = {}
    for one in records:
        name, is_plain = _method(one), one["config"]["tadrop"] is None
        best[name] = max(best.get(name, (False, 0.0)), (is_plain, _average(one)))

    def rank(one: Record) -> float:
        return -best[_method(one)][1]

    ranking = table.build(sorted(records, key=rank), compare=sources.compare)
    return ranking if "stored" in ranking.extra else table.with_data(ranking)


def _method(one: Record) -> str:
    return one["config"]["merge"]["name"]


def _average(one: Record) -> float:
    """The mean over tasks."""
    values = list(map(itemgetter("value"), one["scores"]))
    return sum(values) / len(values)


def figures_of(
    shown: Table, records: Sequence[Record], folder: Path
) -> list[tuple[str, "Figure"]]:
    """(what, figure) of everything worth drawing from one table and its records."""
    drawn: dict[str, Figure] = {}
    for what, figure in (
        ("accuracy", accuracy(shown)),
        ("lambda", sweeps.lambda_curves(records, shown.title)),
        ("density", sweeps.density_curves(records, shown.title)),
        ("bytes", accuracy_against_bytes(shown)),
        ("arrivals", arrivals.accuracy_after_arrivals(shown)),
    ):
        if figure is not None:
            drawn[what] = figure
    for name, grid in sweeps.quantile_grid(records).items():
        title = f"{name} + TADrop, {shown.title}"
        heat = sweeps.heat_map(grid, title, "average accuracy, %")
        drawn[f"quantiles_{file_word(name)}"] = heat
    for name in _comparable(shown)[:MOST_DUMBBELLS]:
        drawn[f"tasks_{file_word(name)}"] = averages.task_gains(shown, name)
    return [*drawn.items(), *tensor_figures(records, folder)]


def _comparable(shown: Table) -> list[str]:
    """The methods that have a row with TADrop and one without."""
    names: list[str] = []
    for name, rows in methods.methods_of(shown).items():
        if {"", "TADrop"} <= rows.keys():
            names.append(name)
    return names


def accuracy(shown: Table) -> "Figure | None":
    """Averages: bars of a few methods, lines of many, or of the settings compared.

    None where the settings are too many for a figure.
    """
    settings = methods.settings_of(shown)
    if len(settings) > MOST_LINES:
        return None
    if settings:
        return averages.gains(shown, settings)
    if len(methods.methods_of(shown)) <= BARS:
        return averages.accuracy_bars(shown)
    return averages.gains(shown)


def file_word(title: str) -> str:
    """A method's title as part of a file's name."""
    return re.sub(r"\W", "_", title.lower()).strip("_")


def tensor_figures(
    records: Sequence[Record], folder: Path
) -> list[tuple[str, "Figure"]]:
    """The sparsity map and the profile by depth of the first record with TADrop."""
    for one in records:
        statistics = folder / f"{one['key']}.tensors.csv.gz"
        if variant(one["config"]) == "TADrop" and statistics.exists():
            frame = record.read_tensors(folder, one["key"])
            title = _rule(one["config"]["tadrop"])
            profile = tensors.tensor_profile(frame, title)
            return [
                ("sparsity", tensors.sparsity_map(frame, title)),
                ("profile", profile),
            ]
    return []


def _rule(tadrop: Mapping[str, Any]) -> str:
    density = tadrop.get("density")
    at = "" if density is None else f" at density {density}"
    return f"TADrop {tadrop['q_lo']:g}/{tadrop['q_hi']:g}{at}, mean over tasks"
