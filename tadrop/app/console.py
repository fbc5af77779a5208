"""Progress on standard error, and the consoles that people look at."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


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
        task = bars.add_task(f"{self._title:<28} {name:<9}", total=steps)
        return lambda: bars.advance(task)


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
