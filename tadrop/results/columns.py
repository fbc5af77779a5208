"""The columns of a table. One column is one function in COLUMNS.

A function takes a row and its table and returns a cell: the text that people read, and
the values that the CSV file holds in full. A column of COLUMNS stands in every table,
unless it is named in SOME_TABLES.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tadrop.results.intervals import Interval, side
from tadrop.results.row import Row
from tadrop.results.table import Table

Value = float | int | str | None
UNITS = ("B", "kB", "MB", "GB")


@dataclass(frozen=True)
class Cell:
    """What a row says in one column.

    text:     for people; empty where the row has nothing to say
    values:   for the CSV file, by heading; the headings are the same in every row
    interval: of a difference
    rank:     what the cell sorts by in the report, where its text is no number
    """

    text: str
    values: Mapping[str, Value] = field(default_factory=dict)
    interval: Interval | None = None
    rank: float | None = None

    @property
    def sign(self) -> int:
        """1 or -1 where a difference's interval leaves out zero; 0 elsewhere."""
        return 0 if self.interval is None else side(self.interval)


def average(row: Row, table: Table) -> Cell:
    """The mean over tasks, with its standard deviation over seeds."""
    spread = "" if row.deviation is None else f" ± {row.deviation:.1f}"
    text = "" if row.average is None else f"{row.average:.1f}{spread}"
    return Cell(text, {"average": row.average, "deviation": row.deviation})


def normalised(row: Row, table: Table) -> Cell:
    """The average in percent of the individual models'."""
    text = "" if row.normalised is None else f"{row.normalised:.1f}"
    return Cell(text, {"normalised": row.normalised})


def difference(row: Row, table: Table) -> Cell:
    """What TADrop adds to the row without it."""
    low, high = row.interval or (None, None)
    values = {
        "difference": row.difference,
        "difference_low": low,
        "difference_high": high,
    }
    return Cell(gain(row.difference, row.interval), values, row.interval)


def versus_uniform(row: Row, table: Table) -> Cell:
    """What TADrop adds to uniform pruning at equal density."""
    low, high = row.versus_interval or (None, None)
    values = {"versus_uniform": row.versus, "versus_low": low, "versus_high": high}
    return Cell(gain(row.versus, row.versus_interval), values, row.versus_interval)


def kept(row: Row, table: Table) -> Cell:
    """The density of what was merged."""
    text = "" if row.density is None else f"{row.density:.2f}"
    return Cell(text, {"density": row.density})


def scale(row: Row, table: Table) -> Cell:
    """Lambda; several values where the seeds chose different ones."""
    text = "/".join(f"{value:g}" for value in row.scales)
    return Cell(text, {"scale": text})


def stored(row: Row, table: Table) -> Cell:
    """Bytes beside the base: for each task in the text, of the whole in the values."""
    values = {"bytes": row.stored_bytes}
    if row.stored_bytes is None:
        return Cell("", values)
    share = row.stored_bytes / len(table.tasks)
    rank = float(f"{share:.3g}") if share else None  # rounded as it is shown
    return Cell(size(share), values, rank=rank)


def coded(row: Row, table: Table) -> Cell:
    """As stored, of a packed file whose bits are compressed."""
    values = {"bytes_xz": row.coded_bytes}
    if row.coded_bytes is None:
        return Cell("", values)
    share = row.coded_bytes / len(table.tasks)
    return Cell(size(share), values, rank=float(f"{share:.3g}"))


def backward(row: Row, table: Table) -> Cell:
    """The backward transfer in points, with its standard deviation over orders."""
    values = {
        "backward": row.backward,
        "backward_deviation": row.backward_deviation,
        "arrivals": "/".join(f"{value:.2f}" for value in row.arrivals),
    }
    if row.backward is None:
        return Cell("", values)
    deviation = row.backward_deviation
    spread = "" if deviation is None else f" ± {deviation:.1f}"
    return Cell(f"{row.backward:+.1f}{spread}", values, rank=row.backward)


def data(row: Row, table: Table) -> Cell:
    """What the method saw of the tasks' data."""
    text = " and ".join(row.data) or "none"
    return Cell(text, {"data": text})


Column = Callable[[Row, Table], Cell]
COLUMNS: dict[str, Column] = {  # by heading
    "avg": average,
    "norm": normalised,
    "diff": difference,
    "vs uniform": versus_uniform,
    "kept": kept,
    "lambda": scale,
    "stored": stored,
    "xz": coded,
    "backward": backward,
    "data": data,
}
SOME_TABLES = (
    "data",
    "stored",
    "xz",
    "backward",
)  # shown only by a table that has them in `extra`
OWN = (
    "xz",
    "backward",
)  # of these, those that only such a table has at all, in its CSV file too


def headings(table: Table) -> list[str]:
    """The headings of a table's columns, without that of the label."""
    return [*map(readable, table.columns), *_shown(table)]


def _shown(table: Table) -> list[str]:
    """The headings of the columns that a table shows beside its tasks."""
    ordinary = [heading for heading in COLUMNS if heading not in SOME_TABLES]
    return [*ordinary, *table.extra]


def readable(name: str) -> str:
    """The name of a task as people read it."""
    return name.replace("_", " ")


def cells(table: Table, row: Row) -> list[Cell]:
    """The cells of a row, one for each heading."""
    row_cells = task_cells(table, row)
    for heading in _shown(table):
        row_cells.append(COLUMNS[heading](row, table))
    return row_cells


def all_cells(table: Table, row: Row) -> list[Cell]:
    """The cells of a row in every column that there is, whether shown or not."""
    row_cells = task_cells(table, row)
    for heading, column in COLUMNS.items():
        if heading in table.extra or heading not in OWN:
            row_cells.append(column(row, table))
    return row_cells


def task_cells(table: Table, row: Row) -> list[Cell]:
    """The cells of the tasks and their details."""
    row_cells: list[Cell] = []
    for name in table.columns:
        value = row.values.get(name)
        text = "" if value is None else f"{value:.1f}"
        row_cells.append(Cell(text, {name: value}))
    return row_cells


def gain(points: float | None, interval: Interval | None) -> str:
    """+1.2 [0.9, 1.5]: a difference and, where it is known, its interval."""
    if points is None:
        return ""
    if interval is None:
        return f"{points:+.1f}"
    low, high = interval
    return f"{points:+.1f} [{low:.1f}, {high:.1f}]"


def size(count: int | float) -> str:
    """Bytes as people read them: 0, 12.3 kB, 1.27 MB."""
    if not count:
        return "0"
    *smaller, largest = UNITS
    for unit in smaller:
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {largest}"
