"""Tables and results as a terminal shows them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from tadrop.app.console import console, err, out, position, print_wide, say
from tadrop.app.meter import shown
from tadrop.app.terminal.plain import harmless
from tadrop.app.terminal.sheets import fitted, full
from tadrop.errors import TadropError
from tadrop.results.formats import label
from tadrop.results.intervals import paired
from tadrop.results.record import Record, read
from tadrop.results.row import Row
from tadrop.results.table import Table, build

if TYPE_CHECKING:
    from tadrop.merging.export import Written

AGAIN = "nothing was run: the record was there already (overwrite=true runs it again)"


def show(
    records: Sequence[Record], folder: Path, brief: bool = False, ran: bool = True
) -> None:
    """Prints the rows of these records and where the last one is stored.

    brief: one line, for a job of a sweep
    ran:   whether anything was run, or all records were there already
    """
    table = build(records, compare=paired(folder))
    key = records[-1]["key"]
    if brief:
        row = next(row for row in table.rows if key in row.keys)
        say(f"{_job(row):<28} {_average(row)}   {key}")
        return
    print_table(table)
    say(f"record: {short(folder / f'{key}.json')}")
    if not ran:
        say(AGAIN, err)


def _job(row: Row) -> str:
    """The name of a sweep's job: its row, and what else varies from job to job."""
    where = position.get()
    words = where.varied if where else ()
    return " ".join([label(row), *words])


def _average(row: Row) -> str:
    if row.average is None:
        return ""
    norm = "" if row.normalised is None else f", normalised {row.normalised:.1f}"
    return f"average {row.average:.1f}{norm}"


def show_sweep(files: Sequence[Path]) -> list[Table]:
    """Prints the tables of a sweep's runs, one a model and task set, and their best.

    files: the records of its runs and of their references; what cannot be read is left
    out, as its run has failed and said so
    Returns the tables.
    """
    tables: list[Table] = []
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in _readable(files):
        config = record["config"]
        suite = (config["model"]["name"], *config["tasks"]["names"])
        split = record["protocol"]["split"]
        groups.setdefault((*suite, split), []).append(record)
    for records in groups.values():
        table = build(records, compare=paired(files[0].parent))
        print_table(table)
        _tell_best(table, records[0]["protocol"]["split"])
        tables.append(table)
    return tables


def _readable(files: Sequence[Path]) -> Iterator[Record]:
    """The records in these files, without those that are not there or damaged."""
    for file in files:
        with suppress(TadropError, OSError):
            yield read(file)


def _tell_best(table: Table, split: str) -> None:
    """Says which of several rows has the best average."""
    rows = [row for row in table.rows if not row.is_reference]
    if len(rows) < 2:
        return
    best = max(rows, key=measured)
    name = label(best)
    if best.below:
        name = f"{best.title} {name}"
    say(f"best on the {split} split: {name}, {_average(best)}")
    if split == "test":
        say("a setting is chosen on data that is not tested on: split=validation")


def measured(row: Row) -> float:
    """The average of a row."""
    return row.measured


def short(path: Path) -> Path:
    """A path as people write it here: relative where it lies in the current folder."""
    current = Path(os.path.abspath(""))
    whole = Path(os.path.abspath(path))
    return whole.relative_to(current) if whole.is_relative_to(current) else path


def show_written(written: "Written") -> None:
    """Prints where an export is and what it is."""
    say(
        f"wrote {harmless(str(written.path))} "
        f"({written.kind}, {shown(written.bytes)}, density {written.density:.3f})"
    )
    for path in written.expanded.values():
        say(f"wrote {harmless(str(path))}")


# Keys of the records of individual models that this process has compared.
COMPARED: set[str] = set()


def compare(record: Record) -> None:
    """Prints the individual models' accuracies beside published ones, where there are
    any, before anything is merged; once for the same models in all jobs of a sweep.

    Marked is what differs by more than half a point, or with a limit by three standard
    errors of the sample more.
    """
    if not record.get("published") or record["key"] in COMPARED:
        return
    COMPARED.add(record["key"])
    rich = RichTable(box=None)
    for heading in ("task", "here", "published", "difference", ""):
        left = heading in ("task", "")
        rich.add_column(heading, justify="left" if left else "right")
    limited = record["protocol"]["limit"] is not None
    for score in record["scores"]:
        published = record["published"].get(score["task"])
        if published is None:
            continue
        share = score["value"]
        here = 100 * share
        variance = max(share * (1 - share), 0.01) / score["count"]
        allowed = 0.5 + (300 * variance**0.5 if limited else 0)
        difference = here - published
        odd = abs(difference) > allowed
        rich.add_row(
            score["task"],
            f"{here:.2f}",
            f"{published:.2f}",
            f"{difference:+.2f}",
            "[red]differs: check split, head and checkpoint[/red]" if odd else "",
        )
    say("individual models beside their published accuracy")
    print_wide(rich)


def print_table(table: Table) -> None:
    """Prints a table with its title and caption, as the terminal has room for it.

    Into a file or a pipe it goes at its full width.
    """
    whole, needed = full(table)
    parts: list[RenderableType] = [whole]
    width = max(out.width, needed)
    if out.is_terminal:
        parts = list(fitted(table, out.width))
        width = out.width
    page = console(width=width)
    page.print(Text(table.title, style="table.title"))
    for part in parts:
        page.print(part)
    page.print(Text(table.caption, style="table.caption"))
