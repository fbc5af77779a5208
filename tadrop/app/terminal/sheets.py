"""Tables for a terminal of any width.

What does not fit gives way in steps. Headings break between words; tasks are numbered,
with a key; tasks move to a table of their own below, or are left out; then the less
important columns go, the intervals, and at last the names of methods are broken.
Averages and differences always stay.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from operator import attrgetter

from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from tadrop.results.columns import Cell, cells, headings
from tadrop.results.formats import indented
from tadrop.results.table import Table

COLOURS = {1: "green", -1: "red"}  # of a gain and of a loss
GAP = 2  # characters between columns
LEAST_LABEL = 12  # characters a line of a method's name, where it must be broken
# What goes first where a table is too wide, column by column.
DISPENSABLE = (("lambda", "kept"), ("norm",), ("data", "stored"))


def _length(cell: Cell) -> int:
    return len(cell.text)


@dataclass(frozen=True)
class Column:
    """One column of a table: a heading, and a cell a row."""

    heading: str
    cells: tuple[Cell, ...]
    justify: str = "right"

    @property
    def content(self) -> int:
        """Characters of the widest cell."""
        return max(map(_length, self.cells), default=0)

    @property
    def narrow(self) -> int:
        """The least width at which no word of the heading and no cell is broken."""
        words = map(len, self.heading.split())
        return max(self.content, *words, 1)

    @property
    def wide(self) -> int:
        """The width at which the heading stands on one line."""
        return max(self.content, len(self.heading), 1)


Columns = Sequence[Column]
_narrowest = attrgetter("narrow")  # the width of a column
_widest = attrgetter("wide")
_content = attrgetter("content")


def full(table: Table) -> tuple[RichTable, int]:
    """The whole table with headings on one line, and its width."""
    columns = [_labels(table), *_tasks(table), *_summary(table)]
    widths = list(map(_widest, columns))
    return _drawn(columns, widths), _span(widths)


def fitted(table: Table, width: int) -> Iterator[RenderableType]:
    """What to print of a table, one below the other, so that nothing is wider."""
    labels, tasks, summary = _labels(table), _tasks(table), _summary(table)
    numbered = _numbered(tasks)
    whole, needed = full(table)
    if needed <= width:
        yield whole
    elif _narrow([labels, *tasks, *summary]) <= width:
        yield _packed([labels, *tasks, *summary])
    elif _narrow([labels, *numbered, *summary]) <= width:
        yield _packed([labels, *numbered, *summary])
        yield _key(tasks)
    else:
        yield _squeezed(labels, summary, width)
        yield Text()
        yield from _tasks_below(labels, tasks, width)


def _tasks_below(
    labels: Column, tasks: Columns, width: int
) -> Iterator[RenderableType]:
    """The tasks in a table of their own, or what they would need."""
    numbered = _numbered(tasks)
    if _narrow([labels, *tasks]) <= width:
        yield _packed([labels, *tasks])
    elif _narrow([labels, *numbered]) <= width:
        yield _packed([labels, *numbered])
        yield _key(tasks)
    elif tasks:
        needed = _narrow([labels, *numbered])
        yield Text(
            f"{len(tasks)} task columns are left out: they need a terminal {needed} "
            "columns wide, and stand in the files named below"
        )


def _labels(table: Table) -> Column:
    """The names of the rows."""
    names = map(Cell, map(indented, table.rows))
    return Column("method", tuple(names), "left")


def _tasks(table: Table) -> list[Column]:
    return _columns(table)[: len(table.columns)]


def _summary(table: Table) -> list[Column]:
    """The columns beside the tasks;
    those in which no row says anything are left out.
    """
    columns = _columns(table)[len(table.columns) :]
    return list(filter(_content, columns))


def _columns(table: Table) -> list[Column]:
    rows = map(partial(cells, table), table.rows)
    by_column = zip(*rows, strict=True) if table.rows else repeat(())
    return list(map(Column, headings(table), by_column))


def _numbered(tasks: Columns) -> list[Column]:
    """The tasks under numbers, which need less room than names."""
    columns: list[Column] = []
    for number, column in enumerate(tasks, start=1):
        columns.append(replace(column, heading=str(number)))
    return columns


def _key(tasks: Columns) -> Text:
    """Which number is which task."""
    pairs: list[str] = []
    for number, column in enumerate(tasks, start=1):
        pairs.append(f"{number} {column.heading}")
    return Text("tasks: " + ", ".join(pairs))


def _squeezed(labels: Column, summary: Columns, width: int) -> RichTable:
    """The summary columns, as much of them as there is room for."""
    columns = summary
    for columns in _poorer(summary):
        if _narrow([labels, *columns]) <= width:
            break
    widths = list(map(_narrowest, columns))
    room = width - sum(widths) - GAP * len(widths)
    label = min(labels.narrow, max(room, LEAST_LABEL))
    return _drawn([labels, *columns], [label, *widths])


def _poorer(summary: Columns) -> Iterator[Columns]:
    """The summary columns, and what is left of them step by step."""
    yield summary
    columns = _without(summary, DISPENSABLE[0])
    yield columns
    columns = list(map(_without_interval, columns))
    yield columns
    for headings_to_leave in DISPENSABLE[1:]:
        columns = _without(columns, headings_to_leave)
        yield columns


def _without(columns: Columns, names: Sequence[str]) -> list[Column]:
    """The columns whose headings are none of these."""
    return [column for column in columns if column.heading not in names]


def _without_interval(column: Column) -> Column:
    """Differences alone; colours still say which of them leave out zero."""
    short: list[Cell] = []
    for cell in column.cells:
        text = cell.text.split(" [")[0] if cell.interval else cell.text
        short.append(replace(cell, text=text))
    return replace(column, cells=tuple(short))


def _span(widths: Sequence[int]) -> int:
    """The width of a table whose columns have these widths."""
    return sum(widths) + GAP * (len(widths) - 1)


def _narrow(columns: Columns) -> int:
    """The width of a table with headings broken between words."""
    return _span(list(map(_narrowest, columns)))


def _packed(columns: Columns) -> RichTable:
    return _drawn(columns, list(map(_narrowest, columns)))


def _drawn(columns: Columns, widths: Sequence[int]) -> RichTable:
    """The table; a difference is coloured only where its interval leaves out zero."""
    rich = RichTable(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        justify = "left" if column.justify == "left" else "right"
        rich.add_column(column.heading, width=width, justify=justify, overflow="fold")
    for line in zip(*(column.cells for column in columns), strict=True):
        texts: list[Text] = []
        for cell in line:
            texts.append(Text(cell.text, style=COLOURS.get(cell.sign, "")))
        rich.add_row(*texts)
    return rich
