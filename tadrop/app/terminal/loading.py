"""A sign of life while the libraries are loaded, which takes seconds."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from tadrop.app.console import err

HEAVY = "torch"  # the library that takes longest


@contextmanager
def loading() -> Iterator[None]:
    """Says on a terminal that the libraries are being loaded, until they are.

    Into a pipe nothing is said: a program reads what runs, and not what is to come.
    """
    if HEAVY in sys.modules or not err.is_terminal or err.is_dumb_terminal:
        yield
        return
    sign = Spinner("dots", "loading the libraries")
    with Live(Group(sign, Text()), console=err, transient=True):
        yield
