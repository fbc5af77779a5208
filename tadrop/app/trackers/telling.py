"""Trackers are told of a run after its record is on disk.

So nothing that they do can lose one: a tracker that is missing, unreachable, slow or
broken costs one line on standard error, never a run.
"""

import os
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tadrop.app.console import err
from tadrop.app.runs import build
from tadrop.app.trackers.entry import Entry, Tracker, of_record
from tadrop.errors import TadropError
from tadrop.results.record import Record

# The variable of the environment in which a sweep names itself, to its workers too.
SWEEP = "TADROP_SWEEP"
PATIENCE = 120.0  # seconds that a tracker may take
KEPT = "; what it was to be told is kept, and the run goes on"
LATER = "; runs go on, and tadrop records push tells it of them later"
SETTING = re.compile(r"tracker(\.\w+)*=")


def group() -> str | None:
    """The name of the sweep that this process, or the one that started it, makes."""
    return os.environ.get(SWEEP)


def tell(
    tracker: Tracker | None,
    make: Callable[[], Entry],
    patience: float = PATIENCE,
    after: str = KEPT,
) -> bool:
    """Tells a tracker of an entry, for `patience` seconds at most; returns whether it was.

    make:  makes the entry, where there is a tracker
    after: what is said after what went wrong, in the same line; nothing is raised
    """
    if tracker is None:
        return True
    problems: list[str] = []

    def attempt() -> None:
        try:
            tracker.log(make())
        except TadropError as error:
            problems.append(str(error))
        except Exception as error:  # whatever it is, the record is what counts
            problems.append(f"{type(error).__name__}: {error}".splitlines()[0])

    worker = threading.Thread(target=attempt, daemon=True)
    worker.start()
    worker.join(patience)
    if worker.is_alive():
        problems.append(f"no answer within {patience:g} s")
    for problem in problems:
        err.print(f"tracker: {problem}{after}", soft_wrap=True, markup=False)
    return not problems


def tell_of(node: Any, make: Callable[[], Entry]) -> bool:
    """Tells the tracker that a node of the configuration names, if it names one.

    One that cannot be told is left alone once that was said.
    """
    return not forewarn(node) and tell(build.part(node), make)


def forewarn(node: Any) -> bool:
    """Says once, before anything is run, that a tracker's library is not installed.

    Returns whether it is not.
    """
    lack = _lack(build.part(node))
    if lack and lack not in _warned:
        _warned.add(lack)
        err.print(f"tracker: {lack}{LATER}", soft_wrap=True, markup=False)
    return bool(lack)


_warned: set[str] = set()


def _lack(tracker: Tracker | None) -> str:
    """What a tracker lacks to be told anything; empty where it lacks nothing."""
    try:
        if tracker is not None:
            tracker.check()
    except TadropError as error:
        return str(error)
    return ""


def push(node: Any, records: Sequence[Record], folder: Path) -> int:
    """Tells a tracker of records that lie in a folder; returns of how many it was told.

    It ends at the first that fails: the others would, too.
    """
    tracker = build.part(node)
    for count, record in enumerate(records):
        told = tell(
            tracker,
            lambda one=record: of_record(one, folder, group() or "records"),
            after=f"; {count} of {len(records)} records were pushed",
        )
        if not told:
            return count
    return len(records)


def parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command's words: those that choose and set a tracker, and the others.

    Raises TadropError where they choose none.
    """
    settings: list[str] = []
    others: list[str] = []
    for word in words:
        part = settings if SETTING.match(word) else others
        part.append(word)
    if not any(word.startswith("tracker=") for word in settings):
        raise TadropError(
            "say which tracker: tracker=wandb, mlflow, tensorboard or trackio"
        )
    return settings, others
