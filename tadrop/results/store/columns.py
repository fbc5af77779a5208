"""The facts of many records as columns, a path each.

What records share, such as their task set, is looked at once: a record is taken in
parts, and a part that was met before has the same facts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from pydantic_core import to_json

from tadrop.results.store.facts import Filter, Record, leaves, score_facts

NOWHERE = -1  # the number of the value of a record that has none at this path
DEEP = "config"  # the node whose own nodes are parts


@dataclass
class Column:
    """One path: its distinct values, and the number of each record's value,
    [record].
    """

    values: list[Any]
    numbers: np.ndarray

    def passing(self, one: Filter) -> np.ndarray:
        """Which records have a value here that fulfils a filter, [record]."""
        fulfils = np.array([*map(one.passes, self.values), False], dtype=bool)
        return fulfils[self.numbers]


Columns = Mapping[str, Callable[[], Column]]


@dataclass
class _Part:
    """One part of records.

    numbers: of every distinct content; facts: of every distinct content
    rows: which records have the part; which: the number of its content in each
    """

    numbers: dict[object, int] = field(default_factory=dict)
    facts: list[dict[str, Any]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    which: list[int] = field(default_factory=list)

    def add(self, row: int, path: str, node: Any) -> None:
        """Notes a record's part."""
        number = self.numbers.setdefault(_same(node), len(self.facts))
        if number == len(self.facts):
            self.facts.append(_facts(path, node))
        self.rows.append(row)
        self.which.append(number)

    def columns(self) -> Iterator[tuple[str, np.ndarray, list[Any]]]:
        """Each path with the contents that have a value there, and the values."""
        contents: dict[str, list[int]] = {}
        values: dict[str, list[Any]] = {}
        for number, facts in enumerate(self.facts):
            for path, value in facts.items():
                contents.setdefault(path, []).append(number)
                values.setdefault(path, []).append(value)
        for path, numbers in contents.items():
            yield path, np.array(numbers), values[path]


class Fresh:
    """The facts of records that were read now."""

    def __init__(self) -> None:
        self.parts: dict[str, _Part] = {}

    def add(self, row: int, record: Record) -> None:
        """Notes a record. row: its place among all records."""
        for path, node in _parts(record):
            self.parts.setdefault(path, _Part()).add(row, path, node)

    def onto(self, known: Columns, targets: np.ndarray, count: int) -> Columns:
        """Columns of known records and of these, [count].

        targets: the row of every known record, NOWHERE for one that holds no longer
        """
        columns = _moved(known, targets, count)
        for part in self.parts.values():
            rows, which = np.array(part.rows), np.array(part.which)
            for path, contents, values in part.columns():
                column = columns.setdefault(path, Column([], _nowhere(count)))
                numbers = _nowhere(len(part.facts))
                numbers[contents] = _numbered(column.values, values)
                here = numbers[which]
                has = here != NOWHERE
                column.numbers[rows[has]] = here[has]
        return {path: partial(_narrow, columns[path]) for path in sorted(columns)}


def _parts(record: Record) -> Iterator[tuple[str, Any]]:
    """The parts of a record by their paths, its scores last."""
    for name, node in record.items():
        if name == DEEP:
            for inner, child in node.items():
                yield f"{name}.{inner}", child
        elif name != "scores":
            yield name, node
    yield "scores", record["scores"]


def _facts(path: str, node: Any) -> dict[str, Any]:
    """The facts of a part."""
    return score_facts(node) if path == "scores" else leaves({path: node})


def _same(value: Any) -> object:
    """What is equal for values that are written alike, and for no others."""
    kind = type(value)
    return to_json(value) if kind is list or kind is dict else (kind, value)


def _nowhere(count: int) -> np.ndarray:
    return np.full(count, NOWHERE, dtype=np.int32)


def _moved(known: Columns, targets: np.ndarray, count: int) -> dict[str, Column]:
    """The columns of known records, each at its new row."""
    holds = targets != NOWHERE
    columns: dict[str, Column] = {}
    for path, read in known.items():
        old, numbers = read(), _nowhere(count)
        numbers[targets[holds]] = old.numbers[holds]
        columns[path] = Column(list(old.values), numbers)
    return columns


def _narrow(column: Column) -> Column:
    """The same column in numbers of as few bytes as its values need."""
    width = np.min_scalar_type(-len(column.values) - 1)
    return Column(column.values, column.numbers.astype(width))


def _numbered(values: list[Any], more: Sequence[Any]) -> list[int]:
    """The numbers of more values; those that are not among `values` are added."""
    numbers: dict[object, int] = {}
    for number, value in enumerate(values):
        numbers[_same(value)] = number
    found: list[int] = []
    for value in more:
        number = numbers.setdefault(_same(value), len(values))
        if number == len(values):
            values.append(value)
        found.append(number)
    return found
