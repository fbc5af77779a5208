"""One static HTML page of every table and figure that the records can fill.

    tadrop report [--records DIR] [--out runs/report.html] [BOARD ...]

Self-contained: styles, script and figures are in the file, nothing is fetched. It opens
with what was found. Tables sort by a click on a heading, are searched and filtered;
columns can be hidden, two rows compared, and what is shown saved as CSV. Every number of
ours links to its record, which shows what produced it and the command that produces it
again; published numbers show their source.
Without BOARD all that stand are shown; a board that is named is shown as far as it is
recorded, and says how many of its runs are not.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from tadrop.app.boards.board import Board
from tadrop.app.boards.contents import Sources, contents
from tadrop.app.boards.recorded import Recorded, collect, find, standing
from tadrop.app.console import say
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import RUNS
from tadrop.app.verbs.boards.table import parser
from tadrop.errors import TadropError
from tadrop.results.figures.boards import accuracy_against_tasks
from tadrop.results.findings import findings
from tadrop.results.html.page import Section, page
from tadrop.results.record import Record
from tadrop.results.table import Table
from tadrop.storage.files import write_text

# The lists of the page, in their order.
BOARDS, TABLES, STUDIES = "Best first", "With the control", "Studies"
ORDER = (BOARDS, TABLES, STUDIES)
TITLE = "Accuracy against the number of tasks"
ACROSS = "The best methods as tasks are added, and what TADrop adds to each."


def section_of(found: Recorded, sources: Sources, owed: bool = True) -> Section:
    """A board's part of the page. owed: say how many of its runs are not recorded."""
    board = found.board
    tables, drawn = contents(found, sources)
    title = clause(board.about)
    short = title
    if board.is_open:
        suite = next(iter(tables.values())).title
        short = suite
        title = f"{suite}: {title[:1].lower()}{title[1:]}"
    found_there = tuple(findings(tables))
    headlines: tuple[str, ...] = ()
    for one in found_there:
        if board.is_open:  # studies speak for themselves, in their place
            headlines += one.best if board.is_ranked else one.control
    return Section(
        board.file,
        title,
        board.about,
        tuple(tables.values()),
        tuple(map(attrgetter("what", "figure"), drawn)),
        short=short,
        kind=_kind(board),
        found=found_there,
        headlines=headlines,
        missing=len(found.owed) if owed else 0,
        how=board.command,
    )


def clause(about: str) -> str:
    """What a board is, without what is said beside it."""
    return re.split(r"[.:;] |\.$", about)[0]


def _kind(board: Board) -> str:
    """The list of the page that a board stands in."""
    if board.is_ranked:
        return BOARDS
    return TABLES if board.is_open else STUDIES


def sections_across(rankings: Mapping[str, Sequence[Table]]) -> list[Section]:
    """What leaderboards of one model show together, where there are several."""
    sections: list[Section] = []
    for name, tables in rankings.items():
        if len(tables) > 1:
            figure = accuracy_against_tasks(tables)
            section = Section(
                name, TITLE, ACROSS, (), (("tasks", figure),), kind=BOARDS
            )
            sections.append(section)
    return sections


def build(boards: Iterable[Recorded], sources: Sources, owed: bool = True) -> str:
    """The page of these boards, leaderboards first. owed: as in section_of.

    Raises TadropError where there is no board.
    """
    ordered = sorted(boards, key=_rank)
    if not ordered:
        raise TadropError(
            f"no board stands in {sources.folder}; "
            "begin with: python run.py +board=demo"
        )
    sections: list[Section] = []
    commands: dict[str, str] = {}
    records: dict[str, Record] = {}
    rankings: dict[str, list[Table]] = {}
    for found in ordered:
        section = section_of(found, sources, owed)
        sections.append(section)
        if found.board.is_ranked:
            rankings.setdefault(found.board.across, []).extend(section.tables)
        commands = found.commands | commands  # the first section of a record names it
        for one in found.records:
            records[one["key"]] = one
    sections += sections_across(rankings)
    sections.sort(key=lambda section: ORDER.index(section.kind))
    return page(sections, commands, records.values())


def _rank(found: Recorded) -> tuple[int, str, int]:
    """Sorts boards by the lists of the page, then by name and number of tasks."""
    file = found.board.file
    count = len(found.records[0]["scores"]) if found.records else 0
    return ORDER.index(_kind(found.board)), file.rstrip("0123456789"), count


def named(names: Iterable[str], folder: Path) -> list[Recorded]:
    """The boards of these names, or of files of these names, as far as recorded."""
    boards: list[Recorded] = []
    for name in names:
        boards.append(collect(find(name, (), folder), folder, partial=True))
    return boards


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("boards", nargs="*", help="only these; all that stand")
    arguments.set_defaults(out=RUNS / "report.html")
    options = arguments.parse_args()
    folder = options.records
    with told_in_one_line():
        boards = named(options.boards, folder) or standing(folder)
        text = build(boards, Sources(folder, options.published))
        write_text(options.out, text)
    say(f"written: {options.out} ({len(text.encode()) / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
