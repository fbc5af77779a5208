"""Bars for what takes long in the rooms that know nothing of terminals.

Whoever shows bars sets `current` (tadrop.app.console does for the stages of a run);
where nobody does, nothing is shown. It is a context variable and no parameter, since
files are looked for deep inside models and tasks, which a configuration makes.
"""

import io
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

Tick = Callable[[], None]
# Told how many bytes have come, and of how many, if that is known.
Tell = Callable[[int, int | None], None]


@runtime_checkable
class Bars(Protocol):
    """Named bars, as tadrop.app.console.Progress has them."""

    def bar(self, name: str, steps: int | None) -> Tick:
        """A bar of so many steps, or of nobody knows how many; call it once a step."""
        ...

    def transfer(self, name: str) -> Tell:
        """A bar of bytes."""
        ...


class Silent:
    """Bars that nobody sees."""

    def bar(self, name: str, steps: int | None) -> Tick:
        return lambda: None

    def transfer(self, name: str) -> Tell:
        return lambda count, total: None


SILENT = Silent()
current: ContextVar[Bars] = ContextVar("current", default=SILENT)


def bar(name: str, steps: int | None) -> Tick:
    """A bar among those that are shown now; call it once a step."""
    return current.get().bar(name, steps)


def report(name: str) -> type[Any]:
    """A class of bars for the hub library, which tells one of ours instead.

    The library makes one a file, or two where bytes arrive by another way than they are
    written, and one that counts the files of a folder. The larger count of bytes is
    shown.
    """
    from tqdm.std import tqdm

    tell = current.get().transfer(name)
    most = 0

    class Report(tqdm):
        """tqdm that counts and shows nothing itself."""

        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **{**options, "file": io.StringIO()})

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal most
            displayed = super().update(n)
            if self.unit == "B":
                most = max(most, int(self.n))
                tell(most, None if self.total is None else int(self.total))
            return displayed

        def display(self, *words: Any, **options: Any) -> None:
            return None

    return Report
