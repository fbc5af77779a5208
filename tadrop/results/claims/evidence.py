"""What tables show of TADrop, suite by suite: gains, each with its interval and a verdict.

A suite is a model with a task set. Where several tables are of one suite, that which
covers most speaks for it: sets of models and tasks before test examples alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter

from tadrop.results.columns import gain
from tadrop.results.findings import TEST_INPUTS, differences
from tadrop.results.intervals import Interval, side
from tadrop.results.store import former
from tadrop.results.table import Table

VERDICTS = {1: "for", 0: "open", -1: "against"}
# The beginnings of the names of tables at TADrop's defaults, those that cover most first.
SPEAKERS = ("ablation_tasks", "table_", "leaderboard_")


@dataclass(frozen=True)
class Subject:
    """A table that speaks for a suite.

    file: the name of what is written of it
    """

    file: str
    table: Table

    @property
    def model(self) -> str:
        return self.table.title.partition(",")[0]

    @property
    def tasks(self) -> int:
        return len(self.table.tasks)

    @property
    def link(self) -> str:
        """The suite's name, which leads to the table."""
        return f"[{self.table.title}]({self.file}.md)"


@dataclass(frozen=True)
class Shown:
    """A gain of one method on one suite, in points.

    method: the stable name of the row; title: with a dagger where its records were made
    with former formulas
    """

    method: str
    title: str
    points: float
    interval: Interval

    @property
    def verdict(self) -> str:
        """Whether it speaks for a gain, against one, or leaves it open."""
        return VERDICTS[side(self.interval)]

    @property
    def text(self) -> str:
        return gain(self.points, self.interval)


def subjects(tables: Mapping[str, Table], beginning: str = "") -> list[Subject]:
    """One table for each suite, by model and number of tasks.

    beginning: of the names of tables that are looked at; all of SPEAKERS unless given
    """
    chosen: dict[str, Subject] = {}
    for speaker in (beginning,) if beginning else SPEAKERS:
        for file, table in tables.items():
            if file.startswith(speaker) and any(gains(table)):
                chosen.setdefault(table.title, Subject(file, table))
    return sorted(chosen.values(), key=attrgetter("model", "tasks"))


def gains(table: Table) -> Iterator[Shown]:
    """What TADrop adds to each method that saw no test inputs."""
    return _shown(table, "difference", "interval")


def versus(table: Table) -> Iterator[Shown]:
    """What TADrop adds to uniform pruning at equal density, by method."""
    return _shown(table, "versus", "versus_interval")


def _shown(table: Table, points: str, interval: str) -> Iterator[Shown]:
    for row, value, ends in differences(table, points, interval):
        # At TADrop's defaults, and of methods that saw no input they are graded on.
        if not row.settings and TEST_INPUTS not in row.data:
            title = row.title + former.MARK if row.former else row.title
            yield Shown(row.method, title, value, ends)


def of_method(shown: Iterable[Shown], method: str) -> Shown | None:
    """The gain of one method; None where the table has none."""
    for one in shown:
        if one.method == method:
            return one
    return None
