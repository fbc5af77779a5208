"""Progress on standard error, and the consoles that people look at."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress
from rich.segment import Segment
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from tadrop.app.terminal.plain import harmless
from tadrop.storage.bars import current

# Widths of a terminal from which bars are drawn in full, are named, and are drawn at all:
# below the last there are numbers alone.
FULL_BARS, NAMED_BARS, SHORT_BARS = 100, 70, 50


class HarmlessConsole(Console):
    """A console that prints characters which a terminal obeys as escapes of them.

    What it draws itself, colours and bars, stays as it is.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See rich's Console."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text=harmless(segment.text, but="\n"))


def console(stderr: bool = False, width: int | None = None) -> Console:
    """A console that prints text as it is.

    width: characters; None for those of the terminal, also where it is dumb and rich
    would say 80
    """
    height = None
    if os.environ.get("TERM", "").lower() in ("dumb", "unknown"):
        columns, height = shutil.get_terminal_size()
        width = width or columns
    return HarmlessConsole(
        stderr=stderr, highlight=False, emoji=False, width=width, height=height
    )


out = console()
err = console(stderr=True)


def say(text: str, where: Console = out) -> None:
    """Prints a line as it is; broken where a terminal ends, and whole in a pipe."""
    where.print(text, soft_wrap=not where.is_terminal, markup=False)


def print_wide(table: RichTable) -> None:
    """Prints a table; as wide as it needs to be where nobody looks at a window.

    A table that wraps cannot be read by a program.
    """
    width = out.width
    if not out.is_terminal:
        width = max(width, Console(width=1000).measure(table).maximum)
    console(width=width).print(table)


MEGABYTE = 1_000_000


class Progress:
    """Named bars; a bar is a function to call once per step. Silent where standard
    error is not a terminal, but for downloads, which have a line each.
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

    def amount(self, name: str, total: int) -> Callable[[int], None]:
        """A bar of megabytes; call it with the bytes of every step."""
        bars = self._bars
        if bars is None:
            return lambda count: None
        title = f"{self._title:<28} " if err.width >= NAMED_BARS else ""
        task = bars.add_task(f"{title}{name} (MB)", total=total / MEGABYTE)
        return lambda count: bars.advance(task, count / MEGABYTE)

    def transfer(self, name: str) -> Callable[[int, int | None], None]:
        """A bar of megabytes, from the first that come; gone when all have come.

        Call it with how many bytes there are, and of how many, if that is known.
        """
        bars, task = self._bars, None

        def tell(count: int, total: int | None) -> None:
            nonlocal task
            size = None if total is None else total // MEGABYTE
            if not size:  # too small for a bar, or nobody knows
                return
            if task is None:
                task = self._transfer_bar(name, size)
            if bars is not None:
                finished = count == total
                bars.update(task, completed=count // MEGABYTE, visible=not finished)

        return tell

    def _transfer_bar(self, name: str, size: int) -> TaskID:
        """A bar of so many megabytes; without bars, a line that says what comes."""
        if self._bars is None:
            say(f"downloading {name} ({size} MB)", err)
            return TaskID(0)
        return self._bars.add_task(f"download {name} (MB)", total=size)


@dataclass(frozen=True)
class Position:
    """Where a run stands in a sweep: its number, from 1, of how many, and what became
    of those before it.

    varied: what it sets that others of the sweep set otherwise, such as "q_lo=0.5"
    in_worker: whether it runs in a process of a launcher's, beside others
    """

    job: int
    jobs: int
    counts: Mapping[str, int]
    varied: tuple[str, ...] = ()
    in_worker: bool = False


position: ContextVar[Position | None] = ContextVar("position", default=None)


def counted(jobs: int, counts: Mapping[str, int]) -> str:
    """`12 jobs: 9 done, 2 skipped, 1 failed`"""
    parts: list[str] = []
    for word in ("done", "skipped", "failed"):
        parts.append(f"{counts.get(word, 0)} {word}")
    return f"{jobs} jobs: " + ", ".join(parts)


class Bars(RichProgress):
    """Rich's bars, with the cursor in an empty line below them.

    Whatever else is written begins in a line of its own, and no line of what a terminal
    was sent is longer than the terminal is wide, also where somebody keeps it in a file.
    """

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text()


@contextmanager
def stages(title: str) -> Iterator[Progress]:
    """Bars for the stages of one run, gone when it is done; without a terminal, or
    beside other processes, one line says what runs.
    """
    where = position.get()
    beside_others = where is not None and where.in_worker
    if not err.is_terminal or err.is_dumb_terminal or beside_others:
        job = f" (job {where.job} of {where.jobs})" if where else ""
        say(f"running {title}{job}", err)
        with shown(Progress()) as progress:
            yield progress
        return
    with Bars(*_bar_columns(), console=err, transient=True) as bars:
        if where:
            named = err.width >= NAMED_BARS
            description = counted(where.jobs, where.counts) if named else "sweep"
            bars.add_task(description, total=where.jobs, completed=where.job - 1)
        with shown(Progress(bars, title)) as progress:
            yield progress


@contextmanager
def shown(progress: Progress) -> Iterator[Progress]:
    """Whatever takes long below tells these bars: downloads, zero-shot heads."""
    token = current.set(progress)
    try:
        yield progress
    finally:
        current.reset(token)


def _bar_columns() -> tuple[ProgressColumn, ...]:
    """What a bar consists of: in a narrow terminal it is shorter, or left out."""
    name = Column(no_wrap=True, overflow="ellipsis")
    title = TextColumn("{task.description}", table_column=name, markup=False)
    count = MofNCompleteColumn(table_column=Column(no_wrap=True))
    time = TimeElapsedColumn(table_column=Column(no_wrap=True))
    if err.width < SHORT_BARS:
        return title, count, time
    return title, BarColumn(40 if err.width >= FULL_BARS else 8), count, time


def waiting(title: str) -> None:
    """Says why nothing happens."""
    say(f"waiting for another process, which runs {title}", err)
