"""Published numbers: facts of papers and repositories, to stand beside our own rows.

Each row has its source. results/published/*.csv has one row per method and table: which
model, task set and checkpoints it speaks of, `merge` (the name of our row for the same
method, empty where we have none), `uses` (what it needs beyond the merged weights),
source, note, `selected` (in some files: the split on which the method's scale was chosen,
where the source chose it), then task columns and `average`, `normalised` or `gain`, in percent as
printed. Numbers of different checkpoint families are not interchangeable, so a table
shows one family where its records say which.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tadrop.errors import TadropError
from tadrop.results.row import Row
from tadrop.results.table import Table

SELECTED = "selected"
FACTS = ("model", "tasks", "checkpoints", "method", "merge", "uses", "source", "note")
SUMMARIES = ("average", "normalised", "gain")
FAMILIES = {  # of checkpoints, by model.source
    "hub": "FusionBench",
    "tall_masks": "TALL-masks",
    "task_vectors": "Ilharco et al.",
}
PACKAGE = Path(__file__).parents[1]
INSTALLED = PACKAGE / "published"  # where setup.py puts the folder of the checkout
FOLDER = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent / "results" / "published"


@dataclass(frozen=True)
class Published:
    """One method's published numbers on one task set.

    values: by task; summaries: average, normalised, gain
    selected: the split on which the source chose the scale, if it did
    """

    model: str
    tasks: str
    checkpoints: str
    method: str
    merge: str
    uses: str
    source: str
    note: str
    values: Mapping[str, float]
    summaries: Mapping[str, float]
    selected: str = ""

    @property
    def footnote(self) -> str:
        """Where the numbers come from, and what they need."""
        parts = [
            self.source,
            f"{self.checkpoints} checkpoints" if self.checkpoints else "",
            f"uses {self.uses}" if self.uses else "",
            self.note,
        ]
        return "; ".join(filter(None, parts)) + "."


def read(folder: Path) -> list[Published]:
    """Every row of every CSV directly in a folder.

    Raises TadropError naming file and line of what is not a fact.
    """
    if not folder.is_dir():
        raise TadropError(f"{folder}: no such folder of published numbers")
    facts: list[Published] = []
    for path in sorted(folder.glob("*.csv")):
        facts += _read_file(path)
    return facts


def _read_file(path: Path) -> Iterator[Published]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file, strict=True))
    for number, line in enumerate(lines[1:], 2):
        if line:
            yield _parse(lines[0], line, f"{path}, line {number}")


def _parse(head: Sequence[str], line: Sequence[str], where: str) -> Published:
    if len(line) != len(head):
        raise TadropError(f"{where}: the number of cells is not that of the header")
    cells = dict(zip(head, line, strict=True))
    missing = [fact for fact in FACTS if fact not in cells]
    if missing:
        raise TadropError(f"{where}: no column called {', '.join(missing)}")
    if not cells["source"]:
        raise TadropError(f"{where}: a published number needs its source")
    facts = {fact: cells.pop(fact) for fact in FACTS}
    selected = cells.pop(SELECTED, "")
    values: dict[str, float] = {}
    summaries: dict[str, float] = {}
    for name, cell in cells.items():
        if cell:
            kind = summaries if name in SUMMARIES else values
            kind[name] = _number(cell, where, name)
    return Published(**facts, values=values, summaries=summaries, selected=selected)


def _number(cell: str, where: str, column: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise TadropError(f"{where}: {column} is {cell!r}, not a number") from None


def about(
    facts: Iterable[Published], model: str, tasks: str, source: str | None = None
) -> list[Published]:
    """The facts on a model and a task set.

    They are of one checkpoint family where the model's source names one that has any.
    """
    subject = [fact for fact in facts if (fact.model, fact.tasks) == (model, tasks)]
    families = ("", FAMILIES.get(source or ""))
    family = [fact for fact in subject if fact.checkpoints in families]
    return family if any(fact.checkpoints for fact in family) else subject


def squash(name: str) -> str:
    """A task's name without its spelling: stanford-cars and StanfordCars are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def beside(table: Table, facts: Sequence[Published]) -> Table:
    """The table with each published row after the last of ours for its method.

    Rows of methods that we lack stand at the end.
    """
    if not facts:
        return table
    marks: dict[str, str] = {}
    by_method: dict[str, list[Row]] = {}
    others: list[Row] = []
    ours = {row.method for row in table.rows}
    for fact in facts:
        mark = marks.setdefault(fact.footnote, str(len(marks) + 1))
        row = _row(fact, table.columns, mark)
        if fact.merge in ours:
            by_method.setdefault(fact.merge, []).append(row)
        else:
            others.append(row)
    rows: list[Row] = []
    for row, following in zip(table.rows, [*table.rows[1:], None], strict=True):
        rows.append(row)
        if following is None or row.method != following.method:
            _extend(rows, by_method.pop(row.method, []))
    if rows and others:
        rows[-1] = replace(rows[-1], ends_section=True)
    caption = f"{table.caption} Published rows are their sources' numbers, not ours:"
    for footnote, mark in marks.items():
        caption += f" [{mark}] {footnote}"
    return replace(table, rows=(*rows, *others), caption=caption.strip())


def _extend(rows: list[Row], published: Sequence[Row]) -> None:
    """Adds rows to a section, whose end moves to the last of them."""
    if not published:
        return
    ends_section = rows[-1].ends_section
    rows[-1] = replace(rows[-1], ends_section=False)
    rows += published
    rows[-1] = replace(rows[-1], ends_section=ends_section)


def _row(fact: Published, columns: Sequence[str], mark: str) -> Row:
    """A fact as a row of a table with these columns."""
    by_name = dict(zip(map(squash, fact.values), fact.values.values(), strict=True))
    values: dict[str, float] = {}
    for column in columns:
        if squash(column) in by_name:
            values[column] = by_name[squash(column)]
    return Row(
        method="",
        title=fact.method,
        values=values,
        average=fact.summaries.get("average"),
        below=True,
        source=fact.source,
        mark=mark,
        normalised=fact.summaries.get("normalised"),
        difference=fact.summaries.get("gain"),
    )
