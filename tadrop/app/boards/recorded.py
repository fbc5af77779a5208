"""What of a board is recorded, and which boards stand.

A board stands when more than three fifths of its runs are recorded. Its table then shows
the rows that are. What is owed is told in the terminal and not in what is written, so
that a new method makes no file stale. (Half would not do: the runs of a leaderboard are
more than half of a table of a few methods on the same tasks.) Where a former record
stands in for a run, the run is owed all the same (tadrop/results/store/former.py).
"""

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tadrop.app.boards.board import Board, Config, Run, said
from tadrop.app.boards.catalogue import board_names
from tadrop.app.places import CONF
from tadrop.errors import TadropError
from tadrop.results import identity, record
from tadrop.results.identity import label
from tadrop.results.record import Record
from tadrop.results.store import former, index


@dataclass(frozen=True)
class Recorded:
    """A board as far as it is recorded in a folder.

    records: in the board's order, references first, each once
    needed: how many of its runs are recorded, without rows that are only compared with
    owed: the configuration of every run that is not recorded, by key
    former: the keys of those that a former record stands in for until they are run
    commands: what makes each run alone, by key
    """

    board: Board
    folder: Path
    records: list[Record] = field(default_factory=list)
    needed: int = 0
    owed: dict[str, Config] = field(default_factory=dict)
    former: Set[str] = frozenset()
    commands: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many runs the board has."""
        return self.needed + len(self.owed)

    @property
    def stands(self) -> bool:
        """Whether there is enough of it for a table."""
        return enough(self.needed + len(self.former), self.count)

    def told(self) -> str:
        """What is owed, in a line; nothing where nothing is."""
        if not self.owed:
            return ""
        titles = dict.fromkeys(map(label, self.owed.values()))
        return (
            f"{self.board.file}: {len(self.owed)} of {self.count} runs are not recorded "
            f"({', '.join(titles)}); {self.board.command}"
        )


def recorded(board: Board, folder: Path) -> Recorded:
    """Looks up the record of every run of a board."""
    runs: dict[str, Run] = {}
    needed: set[str] = set()
    for run in board.compared():
        key = identity.key(run.config)
        runs.setdefault(key, run)
        if run.needed:
            needed.add(key)
    formers = former.stand_ins(folder)
    found: dict[str, Record] = {}
    owed: dict[str, Config] = {}
    commands: dict[str, str] = {}
    for key, run in runs.items():
        file = folder / f"{key}.json"
        commands[key] = board.command_of(run)
        if file.exists():
            found[key] = record.read(file)
            continue
        if key in needed:
            owed[key] = run.config
        if key in formers:
            settings = identity.settings(run.config)
            found[key] = former.marked(formers[key], settings)
            commands[formers[key].stem] = commands[key]
    records = list(found.values())
    shown = owed.keys() & found.keys()
    return Recorded(
        board, folder, records, len(needed) - len(owed), owed, shown, commands
    )


def collect(board: Board, folder: Path, partial: bool = False) -> Recorded:
    """As recorded. partial: make do with the records that are there.

    Raises TadropError where a record is missing, or with partial where all are.
    """
    found = recorded(board, folder)
    missing = next((key for key in found.owed if key not in found.former), None)
    if missing is not None and not (partial and found.records):
        raise TadropError(
            f"{folder / missing}.json is not there; make it with: {board.command} "
            "(--dry-run lists what is owed)"
        )
    return found


class Suite(NamedTuple):
    """What a record is of: a model, a task set, and how many of its tasks."""

    model: str
    tasks: str
    size: int


def suites(folder: Path) -> dict[Suite, int]:
    """How many records a folder has of each suite that the configuration knows."""
    counts: Counter[Suite] = Counter()
    for line in index.lines(folder):
        suite = Suite(line.model, line.task_set, line.names)
        if _is_choice("model", suite.model) and _is_choice("tasks", suite.tasks):
            counts[suite] += 1
    return dict(sorted(counts.items()))


def _is_choice(group: str, name: str) -> bool:
    """Whether a file of the configuration has this name."""
    return (CONF / group / f"{name}.yaml").exists()


def boards(folder: Path) -> Iterator[Board]:
    """Every board on every model and task set
    that has records enough for it to stand.
    """
    known = suites(folder)
    for name in board_names():
        if "file" not in said(name):
            board = Board(name)
            if enough(sum(known.values()), board.least):
                yield board
            continue
        size = said(name).get("tasks")
        for suite, count in known.items():
            if size in (None, suite.size):
                board = Board(name, (f"model={suite.model}", f"tasks={suite.tasks}"))
                if enough(count, board.least):
                    yield board


def enough(there: int, count: int) -> bool:
    """Whether so many records of so many runs are enough for a table."""
    return there > 0 and 5 * there > 3 * count


def standing(folder: Path, files: Sequence[str] = ()) -> list[Recorded]:
    """The boards that stand, by the names of their files; only of files, where given.

    Of boards that would write one file the largest is taken.
    """
    largest: dict[str, Recorded] = {}
    for board in boards(folder):
        if files and board.file not in files:
            continue
        found = recorded(board, folder)
        other = largest.get(board.file)
        if found.stands and (other is None or other.count < found.count):
            largest[board.file] = found
    return [largest[file] for file in sorted(largest)]


def rival(found: Recorded) -> str:
    """The larger board that stands under the same name; nothing for none."""
    for other in standing(found.folder, [found.board.file]):
        if other.count > found.count:
            return other.board.name
    return ""


def find(name: str, words: Sequence[str], folder: Path) -> Board:
    """A board by its name, or one that stands by the name of its file.

    Raises TadropError where there is none.
    """
    if name not in board_names() and folder.is_dir():
        for found in standing(folder, [name]):
            return Board(found.board.name, (*found.board.words, *words))
    return Board(name, tuple(words))
