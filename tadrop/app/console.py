"""What people see in a terminal: progress bars on standard error, tables on standard
output.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table as RichTable
from rich.text import Text

from tadrop.merging.export import Written
from tadrop.results.intervals import paired
from tadrop.results.record import Record
from tadrop.results.table import Table, build
from tadrop.types import TadropError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def mistake(error: BaseException | None) -> TadropError | None:
    """The TadropError that an error is, or that is wrapped in it, by Hydra say; None
    where there is none.
    """
    while error is not None and not isinstance(error, TadropError):
        error = error.__cause__
    return error


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Ends a script with one line on standard error, and exit code 1, where its user
    made a mistake.

    Which is a TadropError, or words that Hydra cannot compose.
    """
    try:
        yield
    except (TadropError, HydraException, OmegaConfBaseException) as error:
        found = mistake(error)
        if found is None and isinstance(error, InstantiationException):
            raise
        words = re.split("See https://|Config search path", str(error))[0].split()
        sys.exit(f"error: {found or ' '.join(words)}")


class Progress:
    """Named bars; a bar is a function to call once per step. Silent where standard
    error is not a terminal.
    """

    def __init__(self, bars: RichProgress | None = None, title: str = "") -> None:
        self._bars, self._title = bars, title

    def bar(self, name: str, steps: int | None) -> Callable[[], None]:
        if self._bars is None:
            return lambda: None
        task = self._bars.add_task(f"{self._title:<28} {name:<9}", total=steps)
        return lambda: self._bars.advance(task)


@dataclass(frozen=True)
class Position:
    """Where a run stands in a sweep: its number, from 1, of how many, and what became
    of those before it.
    """

    job: int
    jobs: int
    counts: Mapping[str, int]


position: ContextVar[Position | None] = ContextVar("position", default=None)


def counted(jobs: int, counts: Mapping[str, int]) -> str:
    """`12 jobs: 9 done, 2 skipped, 1 failed`"""
    return f"{jobs} jobs: " + ", ".join(
        f"{counts.get(word, 0)} {word}" for word in ("done", "skipped", "failed")
    )


@contextmanager
def stages(title: str) -> Iterator[Progress]:
    """Bars for the stages of one run, gone when it is done; without a terminal one line
    says what runs.
    """
    where = position.get()
    if not err.is_terminal:
        err.print(
            f"running {title}"
            + (f" (job {where.job} of {where.jobs})" if where else "")
        )
        yield Progress()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=err, transient=True) as bars:
        if where:
            bars.add_task(
                counted(where.jobs, where.counts),
                total=where.jobs,
                completed=where.job - 1,
            )
        yield Progress(bars, title)


def waiting(title: str) -> None:
    """Says why nothing happens."""
    err.print(f"waiting for another process, which runs {title}", soft_wrap=True)


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
    for heading in table.headings:
        rich.add_column(heading, justify="right")
    for row in table.rows:
        cells = table.cells(row)
        for heading, interval in (
            ("diff", row.interval),
            ("vs uniform", row.versus_interval),
        ):
            at = (
                table.headings.index(heading)
                if interval and heading in table.headings
                else None
            )
            if at is not None and not interval[0] <= 0 <= interval[1]:
                cells[at] = Text(cells[at], style="green" if interval[0] > 0 else "red")
        rich.add_row(Text(row.label), *cells, end_section=row.ends_section)
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
            f"{row.label.strip():<28} average {row.average:.1f}{norm}   {records[-1]['key']}",
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
