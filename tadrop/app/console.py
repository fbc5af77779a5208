"""Progress on standard error, and the consoles that people look at."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column

# Widths of a terminal from which bars are drawn in full, and from which they are named.
FULL_BARS, NAMED_BARS = 100, 70


def _console(stderr: bool) -> Console:
    """A console as wide as its terminal, also where that is dumb: rich says 80 then."""
    width = None
    if os.environ.get("TERM", "").lower() in ("dumb", "unknown"):
        width = shutil.get_terminal_size().columns
    return Console(stderr=stderr, highlight=False, emoji=False, width=width)


out = _console(stderr=False)
err = _console(stderr=True)


def say(text: str, console: Console = out) -> None:
    """Prints a line as it is; broken where a terminal ends, and whole in a pipe."""
    console.print(text, soft_wrap=not console.is_terminal, markup=False)


class Progress:
    """Named bars; a bar is a function to call once per step. Silent where standard
    error is not a terminal.
    """

    def __init__(self, bars: RichProgress | None = None, title: str = "") -> None:
        self._bars, self._title = bars, title

    def bar(self, name: str, steps: int | None) -> Callable[[], None]:
        """A bar of so many steps, or of nobody knows how many; call it once a step."""
        bars = self._bars
        if bars is None:
            return lambda: None
        title = f"{self._title:<28} " if err.width >= NAMED_BARS else ""
        task = bars.add_task(f"{title}{name:<9}", total=steps)
        return lambda: bars.advance(task)


@dataclass(frozen=True)
class Position:
    """Where a run stands in a sweep: its number, from 1, of how many, and what became
    of those before it.

    varied: what it sets that others of the sweep set otherwise, such as "q_lo=0.5"
    """

    job: int
    jobs: int
    counts: Mapping[str, int]
    varied: tuple[str, ...] = ()


position: ContextVar[Position | None] = ContextVar("position", default=None)


def counted(jobs: int, counts: Mapping[str, int]) -> str:
    """`12 jobs: 9 done, 2 skipped, 1 failed`"""
    parts: list[str] = []
    for word in ("done", "skipped", "failed"):
        parts.append(f"{counts.get(word, 0)} {word}")
    return f"{jobs} jobs: " + ", ".join(parts)


@contextmanager
def stages(title: str) -> Iterator[Progress]:
    """Bars for the stages of one run, gone when it is done; without a terminal one line
    says what runs.
    """
    where = position.get()
    if not err.is_terminal or err.is_dumb_terminal:
        job = f" (job {where.job} of {where.jobs})" if where else ""
        say(f"running {title}{job}", err)
        yield Progress()
        return
    with RichProgress(*_bar_columns(), console=err, transient=True) as bars:
        if where:
            named = err.width >= NAMED_BARS
            description = counted(where.jobs, where.counts) if named else "sweep"
            bars.add_task(description, total=where.jobs, completed=where.job - 1)
        yield Progress(bars, title)


def _bar_columns() -> tuple[ProgressColumn, ...]:
    """What a bar consists of: in a narrow terminal it is shorter."""
    name = Column(no_wrap=True, overflow="ellipsis")
    return (
        TextColumn("{task.description}", table_column=name, markup=False),
        BarColumn(40 if err.width >= FULL_BARS else 8),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
    )


def waiting(title: str) -> None:
    """Says why nothing happens."""
    say(f"waiting for another process, which runs {title}", err)
