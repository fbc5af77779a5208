"""The trace of a search: every point that was evaluated and its value, kept in a file.

A seeded search asks for the same points again. So one that was stopped goes on where it
was, and one whose trace is whole evaluates nothing. A point that is not the one expected
(another version of the search's library, say) ends what is known: the rest is forgotten.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tadrop.storage.files import write_text


class Step(NamedTuple):
    """One point that was evaluated."""

    point: list[float]
    value: float


class Trace:
    """The steps of one search, in order. path: where they are kept; None for nowhere."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.steps = [] if path is None else _read(path)
        self.taken = 0

    def value(
        self, point: Sequence[float], evaluate: Callable[[Sequence[float]], float]
    ) -> float:
        """The value at the next point: as it is known, or evaluated and noted."""
        step, self.taken = self.taken, self.taken + 1
        if step < len(self.steps):
            if self.steps[step].point == list(point):
                return self.steps[step].value
            self._forget(step)
        self._note(Step(list(point), evaluate(point)))
        return self.steps[step].value

    def _forget(self, first: int) -> None:
        """Leaves the steps before this one."""
        del self.steps[first:]
        if self.path is not None:
            write_text(self.path, "".join(map(_line, self.steps)))

    def _note(self, step: Step) -> None:
        self.steps.append(step)
        if self.path is not None:
            # A line at once, so that nothing but the running step is ever lost.
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(_line(step))


def _line(step: Step) -> str:
    return json.dumps(step) + "\n"


def _read(path: Path) -> list[Step]:
    """The whole lines of a trace; whatever a killed writer left after them is cut off."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    steps: list[Step] = []
    for line in text.splitlines(keepends=True):
        try:
            point, value = json.loads(line)
            step = Step(list(map(float, point)), float(value))
        except (TypeError, ValueError):
            break
        if _line(step) != line:
            break
        steps.append(step)
    kept = "".join(map(_line, steps))
    if kept != text:
        write_text(path, kept)
    return steps
