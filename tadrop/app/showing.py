"""Tables and results as a terminal shows them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tadrop.app.console import out
from tadrop.merging.export import Written
from tadrop.results.columns import cells, headings
from tadrop.results.formats import indented, label
from tadrop.results.intervals import paired
from tadrop.results.record import Record
from tadrop.results.table import Table, build

COLOURS = {1: "green", -1: "red"}  # of a gain and of a loss


def render(table: Table) -> RichTable:
    """The table for a terminal; a difference is green or red only where its interval
    leaves out zero.
    """
    rich = RichTable(
        title=table.title,
        caption=Text(table.caption),
        title_justify="left",
        caption_justify="left",
        box=None,
    )
    rich.add_column("method", no_wrap=True)
    for heading in headings(table):
        rich.add_column(heading, justify="right")
    for row in table.rows:
        line: list[str | Text] = [Text(indented(row))]
        for cell in cells(table, row):
            line.append(
                Text(cell.text, style=COLOURS[cell.sign]) if cell.sign else cell.text
            )
        rich.add_row(*line, end_section=row.ends_section)
    return rich


def show(records: Sequence[Record], folder: Path, brief: bool = False) -> None:
    """Prints the rows of these records and where the last one is stored; brief: one
    line, for a job of a sweep.
    """
    table = build(records, compare=paired(folder))
    if brief:
        row = next(row for row in table.rows if records[-1]["key"] in row.keys)
        norm = "" if row.normalised is None else f", normalised {row.normalised:.1f}"
        out.print(
            f"{label(row):<28} average {row.average:.1f}{norm}   {records[-1]['key']}",
            soft_wrap=True,
        )
        return
    print_table(table)
    out.print(f"record: {folder / records[-1]['key']}.json", soft_wrap=True)


def show_written(written: Written) -> None:
    """Prints where an export is and what it is."""
    detail = (
        f"{written.kind}, {written.bytes / 1e6:.1f} MB, density {written.density:.3f}"
    )
    out.print(f"wrote {written.path} ({detail})", soft_wrap=True)
    for path in written.expanded.values():
        out.print(f"wrote {path}", soft_wrap=True)


def compare(record: Record) -> None:
    """Prints the individual models' accuracies beside published ones, where there are
    any, before anything is merged.

    Marked is what differs by more than half a point, or with a limit by three standard
    errors of the sample more.
    """
    if not record.get("published"):
        return
    rich = RichTable(
        title="individual models beside their published accuracy",
        title_justify="left",
        box=None,
    )
    for heading in ("task", "here", "published", "difference", ""):
        rich.add_column(
            heading,
            justify="left" if heading in ("task", "") else "right",
            no_wrap=True,
        )
    limited = record["protocol"]["limit"] is not None
    for score in record["scores"]:
        published = record["published"].get(score["task"])
        if published is None:
            continue
        here = 100 * score["value"]
        error = (
            100
            * (max(score["value"] * (1 - score["value"]), 0.01) / score["count"]) ** 0.5
        )
        odd = abs(here - published) > 0.5 + (3 * error if limited else 0)
        cells = (f"{here:.2f}", f"{published:.2f}", f"{here - published:+.2f}")
        rich.add_row(
            score["task"],
            *cells,
            "[red]differs: check split, head and checkpoint[/red]" if odd else "",
        )
    Console(
        width=max(out.width, Console(width=1000).measure(rich).maximum), highlight=False
    ).print(rich)


def print_table(table: Table) -> None:
    """At its full width into a file or pipe; a terminal too narrow for the tasks'
    columns gets the summary columns.
    """
    needed = Console(width=1000).measure(render(table)).maximum
    if not out.is_terminal:
        print_wide(render(table))
    elif needed <= out.width:
        out.print(render(table))
    else:
        out.print(render(replace(table, tasks=())))
        out.print(
            f"({len(table.tasks)} task columns left out: they need a terminal {needed} columns wide)"
        )


def print_wide(table: RichTable) -> None:
    """As wide as it needs to be where nobody looks at a window: a table that wraps
    cannot be read.
    """
    width = (
        out.width
        if out.is_terminal
        else max(out.width, Console(width=1000).measure(table).maximum)
    )
    Console(highlight=False, width=width).print(table)
