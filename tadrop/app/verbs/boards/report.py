"""One static HTML page of every table and figure that the records can fill.

    tadrop report [--records DIR] [--out runs/report.html] [BOARD ...]

Self-contained: styles, script and figures are in the file, nothing is fetched. Tables
sort by a click on a heading. Every number of ours links to its record, which shows what
produced it and the command that produces it again; published numbers show their source.
Without BOARD all that stand are shown; a board that is named is shown as far as it is
recorded, and says how many of its runs are not.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from tadrop.app.boards.contents import Sources, contents
from tadrop.app.boards.recorded import Recorded, collect, find, standing
from tadrop.app.console import say
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import RUNS
from tadrop.app.verbs.boards.table import parser
from tadrop.errors import TadropError
from tadrop.results.figures.boards import accuracy_against_tasks
from tadrop.results.html.page import Section, page
from tadrop.results.record import Record
from tadrop.results.table import Table
from tadrop.storage.files import write_text

ACROSS = "The best methods as tasks are added, and what TADrop adds to each."


def section_of(found: Recorded, sources: Sources, owed: bool = True) -> Section:
    """A board's part of the page. owed: say how many of its runs are not recorded."""
    tables, drawn = contents(found, sources)
    return Section(
        found.board.file,
        found.board.about,
        tuple(tables.values()),
        tuple(map(attrgetter("what", "figure"), drawn)),
        len(found.owed) if owed else 0,
        found.board.command,
    )


def sections_across(rankings: Mapping[str, Sequence[Table]]) -> list[Section]:
    """What leaderboards of one model show together, where there are several."""
    sections: list[Section] = []
    for name, tables in rankings.items():
        if len(tables) > 1:
            figure = accuracy_against_tasks(tables)
            sections.append(Section(name, ACROSS, (), (("tasks", figure),)))
    return sections


def build(boards: Iterable[Recorded], sources: Sources, owed: bool = True) -> str:
    """The page of these boards, leaderboards last. owed: as in section_of.

    Raises TadropError where there is no board.
    """
    ordered = sorted(boards, key=_is_ranked)
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
    return page(sections, commands, records.values())


def _is_ranked(found: Recorded) -> bool:
    return found.board.is_ranked


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
