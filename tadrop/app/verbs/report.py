"""One static HTML page of every table and figure that the records can fill.

    tadrop report [--records DIR] [--out runs/report.html] [RECIPE ...]

Self-contained: styles, script and figures are in the file, nothing is fetched. Tables
sort by a click on a heading. Every number of ours links to its record, which shows what
produced it and the command that produces it again; published numbers show their source.
Recipes without any record are left out; those with some say how many are missing.
Without RECIPE the leaderboards stand there too.
"""

import argparse
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tadrop.app import boards as recipes
from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import RUNS
from tadrop.app.verbs import leaderboard
from tadrop.app.verbs import table as tables
from tadrop.results import published, record
from tadrop.results.figures.boards import (
    accuracy_against_storage,
    accuracy_against_tasks,
)
from tadrop.results.html.page import Section, page
from tadrop.results.record import Record
from tadrop.results.table import Table
from tadrop.storage.files import write_text
from tadrop.types import TadropError

# What a reference run chooses for itself, whatever the rows of its recipe choose.
OF_ROWS = ("merge", "tadrop", "seed", "select")


class Part(NamedTuple):
    """A section of the page, what makes its records again by key, and the records."""

    section: Section
    commands: dict[str, str]
    records: list[Record]


def command(recipe: str, overrides: Sequence[str], reference: str | None = None) -> str:
    """The command of one run alone, with its recipe's choices spelled out.

    overrides: of the run's job in the recipe
    reference: the name of the row where the run is one that its recipe compares with
    """
    chosen = recipes.choices(recipe)
    words: list[str] = []
    for group in ("model", "tasks"):
        if group in chosen:
            words.append(f"{group}={chosen[group]}")
    for word in overrides:
        group = word.split("=")[0].split(".")[0]
        if group != "+experiment" and (reference is None or group not in OF_ROWS):
            words.append(word)
    if reference is not None:
        words += [f"merge={reference}", "tadrop=off"]
    return "python run.py " + shlex.join(words)


def gather(recipe: str, folder: Path, facts: Path) -> Part | None:
    """A recipe's part of the page; None where none of its runs is recorded."""
    commands: dict[str, str] = {}
    missing: set[str] = set()
    for config, words, needed in recipes.with_plain(recipe):
        name, file = config["merge"]["name"], record.path(folder, config)
        if file.stem in commands:
            continue
        if file.exists():
            reference = name if name in config["references"] else None
            commands[file.stem] = command(recipe, words, reference)
        elif needed:
            missing.add(file.stem)
    if not commands:
        return None
    records = [record.read(folder / f"{key}.json") for key in commands]
    by_name, drawn = tables.contents(recipe, records, folder, facts)
    section = Section(
        recipe,
        recipes.about(recipe),
        tuple(by_name.values()),
        tuple((what, figure) for _, what, figure in drawn),
        len(missing),
        f"python run.py +experiment={recipe}",
    )
    return Part(section, commands, records)


def gather_board(board: leaderboard.Board) -> Part:
    """A leaderboard's part of the page."""
    table = leaderboard.ranked(board)
    section = Section(
        f"leaderboard_{board.tasks}",
        leaderboard.ABOUT,
        (table,),
        (("storage", accuracy_against_storage(table)),),
        len(board.owed),
        f"tadrop leaderboard {board.tasks}",
    )
    commands: dict[str, str] = {}
    for one in board.records:
        commands[one["key"]] = f"python run.py {board.lines[one['key']]}"
    return Part(section, commands, board.records)


def build(
    names: Sequence[str],
    folder: Path,
    facts: Path,
    boards: Iterable[leaderboard.Board] = (),
) -> str:
    """The page of these recipes and boards.

    Raises TadropError where no recipe has a record.
    """
    parts = list(_recorded(names, folder, facts))
    if not parts:
        raise TadropError(
            f"no recipe has a record in {folder}; "
            "begin with: python run.py +experiment=demo"
        )
    ranked: list[Table] = []
    for board in boards:
        parts.append(gather_board(board))
        ranked += parts[-1].section.tables
    sections: list[Section] = []
    commands: dict[str, str] = {}
    records: dict[str, Record] = {}
    for part in parts:
        sections.append(part.section)
        commands = part.commands | commands  # the first section of a record names it
        for one in part.records:
            records[one["key"]] = one
    if len(ranked) > 1:
        figure = accuracy_against_tasks(ranked)
        about = "The best methods as tasks are added, and what TADrop adds to each."
        sections.append(Section("leaderboard_tasks", about, (), (("tasks", figure),)))
    return page(sections, commands, records.values())


def _recorded(names: Iterable[str], folder: Path, facts: Path) -> Iterator[Part]:
    """The parts of the recipes that have a record."""
    for name in names:
        part = gather(name, folder, facts)
        if part is not None:
            yield part


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "recipes", nargs="*", help="only these; all that have records unless given"
    )
    parser.add_argument("--records", type=Path, default=RUNS / "records")
    parser.add_argument("--published", type=Path, default=published.FOLDER)
    parser.add_argument("--out", type=Path, default=RUNS / "report.html")
    options = parser.parse_args()
    names = options.recipes or recipes.names()
    with told_in_one_line():
        boards = [] if options.recipes else leaderboard.standing(options.records)
        text = build(names, options.records, options.published, boards)
        write_text(options.out, text)
    out.print(f"written: {options.out} ({len(text.encode()) / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
