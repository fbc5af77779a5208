"""Published numbers: facts of papers and repositories, each row with its source, to
stand beside our own rows.

results/published/*.csv has one row per method and table: which model, task set and
checkpoints it speaks of, `merge` (the name of our row for the same method, empty where
we have none), `uses` (what it needs beyond the merged weights), source, note, then task
columns and `average`, `normalised` or `gain`, in percent as printed. Numbers of
different checkpoint families are not interchangeable, so a table shows one family where
its records say which.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tadrop.results.table import Row, Table
from tadrop.types import TadropError

FACTS = ("model", "tasks", "checkpoints", "method", "merge", "uses", "source", "note")
SUMMARIES = ("average", "normalised", "gain")
FAMILIES = {
    "hub": "FusionBench",
    "tall_masks": "TALL-masks",
    "task_vectors": "Ilharco et al.",
}  # by model.source
FOLDER = Path("results/published")


@dataclass(frozen=True)
class Published:
    """One method's published numbers on one task set. values: by task; summaries:
    average, normalised, gain.
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


def read(folder: Path) -> list[Published]:
    """Every row of every CSV directly in a folder. Raises TadropError naming file and
    line of what is not a fact.
    """
    if not folder.is_dir():
        raise TadropError(f"{folder}: no such folder of published numbers")
    return [row for path in sorted(folder.glob("*.csv")) for row in _read_file(path)]


def _read_file(path: Path) -> list[Published]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file, strict=True))
    return [
        _parse(line, f"{path}, line {number}") for number, line in enumerate(lines, 2)
    ]


def _parse(line: Mapping[str | None, str | None], where: str) -> Published:
    if None in line or None in line.values():
        raise TadropError(f"{where}: the number of cells is not that of the header")
    if missing := [fact for fact in FACTS if fact not in line]:
        raise TadropError(f"{where}: no column called {', '.join(missing)}")
    if not line["source"]:
        raise TadropError(f"{where}: a published number needs its source")
    numbers = {
        name: _number(cell, where, name)
        for name, cell in line.items()
        if name not in FACTS and cell
    }
    values = {name: value for name, value in numbers.items() if name not in SUMMARIES}
    summaries = {name: value for name, value in numbers.items() if name in SUMMARIES}
    return Published(
        **{fact: line[fact] for fact in FACTS}, values=values, summaries=summaries
    )


def _number(cell: str, where: str, column: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise TadropError(f"{where}: {column} is {cell!r}, not a number") from None


def about(
    rows: Iterable[Published], model: str, tasks: str, source: str | None = None
) -> list[Published]:
    """The rows on a model and a task set; of one checkpoint family where the model's
    source names one that has any.
    """
    found = [row for row in rows if (row.model, row.tasks) == (model, tasks)]
    family = [
        row for row in found if row.checkpoints in ("", FAMILIES.get(source or ""))
    ]
    return family if any(row.checkpoints for row in family) else found


def _squash(name: str) -> str:
    """stanford-cars, stanford_cars and StanfordCars are one task."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _row(fact: Published, columns: Sequence[str], mark: str) -> Row:
    by_name = {_squash(name): value for name, value in fact.values.items()}
    gain = fact.summaries.get("gain")
    return Row(
        label=f"  published: {fact.method} [{mark}]",
        values={
            column: by_name[_squash(column)]
            for column in columns
            if _squash(column) in by_name
        },
        average=fact.summaries.get("average"),
        deviation=None,
        normalised=fact.summaries.get("normalised"),
        density=None,
        stored_bytes=None,
        scale="",
        keys=(),
        difference=gain,
        source=fact.source,
    )


def beside(table: Table, facts: Sequence[Published]) -> Table:
    """The table with each published row after the last of ours for its method; rows
    that we lack at the end.
    """
    if not facts:
        return table
    notes = list(
        dict.fromkeys((f.source, f.checkpoints, f.note, f.uses) for f in facts)
    )
    marks = {note: str(number) for number, note in enumerate(notes, 1)}
    rows: list[Row] = []
    left = list(facts)
    for at, row in enumerate(table.rows):
        rows.append(row)
        following = table.rows[at + 1].merge if at + 1 < len(table.rows) else None
        if row.merge == following:
            continue
        ours = [fact for fact in left if fact.merge == row.merge]
        left = [fact for fact in left if fact.merge != row.merge]
        made = [
            _row(f, table.columns, marks[f.source, f.checkpoints, f.note, f.uses])
            for f in ours
        ]
        rows += _end(rows.pop(), made)
    made = [
        _row(
            fact,
            table.columns,
            marks[fact.source, fact.checkpoints, fact.note, fact.uses],
        )
        for fact in left
    ]
    if rows and made:
        rows[-1] = replace(rows[-1], ends_section=True)
    caption = " ".join(
        [
            table.caption,
            "Published rows are their sources' numbers, not ours:",
            _footnotes(marks),
        ]
    )
    return replace(table, rows=(*rows, *made), caption=caption.strip())


def _end(row: Row, made: Sequence[Row]) -> list[Row]:
    """The row and what follows it; where the row ended its section the last one does
    now.
    """
    if not made:
        return [row]
    return [
        replace(row, ends_section=False),
        *made[:-1],
        replace(made[-1], ends_section=row.ends_section),
    ]


def _footnotes(marks: Mapping[tuple[str, str, str, str], str]) -> str:
    notes = []
    for (source, checkpoints, note, uses), mark in marks.items():
        parts = [
            source,
            f"{checkpoints} checkpoints" if checkpoints else "",
            f"uses {uses}" if uses else "",
            note,
        ]
        notes.append(f"[{mark}] " + "; ".join(part for part in parts if part) + ".")
    return " ".join(notes)
