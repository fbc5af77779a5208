"""What is written of boards: tables, figures, and tables inside pages."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tadrop.app.boards import grid
from tadrop.app.boards.board import SUITE, Board
from tadrop.app.boards.contents import Sources, contents
from tadrop.app.boards.recorded import Recorded, collect, rival
from tadrop.app.boards.words import key_of
from tadrop.app.console import err, say
from tadrop.app.places import RUNS, command
from tadrop.app.showing import print_table
from tadrop.app.trackers.entry import Entry, of_tables
from tadrop.app.trackers.telling import group, tell_of
from tadrop.errors import TadropError
from tadrop.results import formats, identity, published
from tadrop.results.figures.averages import accuracy_bars
from tadrop.results.figures.boards import accuracy_against_tasks
from tadrop.results.figures.style import save
from tadrop.results.table import Table
from tadrop.storage.files import write_text

FORMS = {".md": formats.markdown, ".csv": formats.csv, ".tex": formats.latex}


def write(
    found: Recorded, sources: Sources, target: Path, draw: bool = True
) -> tuple[list[Path], dict[str, Table]]:
    """Writes a board's tables, and figures if draw.

    Returns the paths, and the tables by file name; one that chooses settings has a grid
    and no table.
    """
    if grid.is_grid(found.records):
        frame = grid.grid(found.records)
        return grid.write(found.board.file, frame, target, draw), {}
    tables, drawn = contents(found, sources, draw)
    paths: list[Path] = []
    for name, shown in tables.items():
        paths += write_texts(target / name, shown)
    for one in drawn:
        paths += save(one.figure, target / f"{one.of}_{one.what}")
    return paths, tables


def write_texts(stem: Path, shown: Table) -> list[Path]:
    """A table as Markdown, CSV and LaTeX: stem.md and so on; returns the paths."""
    paths: list[Path] = []
    for suffix, form in FORMS.items():
        path = stem.with_suffix(suffix)
        write_text(path, form(shown))
        paths.append(path)
    return paths


def write_all(
    boards: Iterable[Recorded], sources: Sources, target: Path, draw: bool = True
) -> tuple[list[Path], dict[str, Table]]:
    """Everything of some boards; returns the paths, and the tables by file name."""
    paths: list[Path] = []
    tables: dict[str, Table] = {}
    rankings: dict[str, list[Table]] = {}
    for found in boards:
        if not found.records:
            continue
        say(found.board.file, err)
        written, shown = write(found, sources, target, draw)
        paths += written
        tables |= shown
        if found.board.is_ranked:
            rankings.setdefault(found.board.across, []).extend(shown.values())
    return paths + (write_across(rankings, target) if draw else []), tables


def write_across(rankings: Mapping[str, Sequence[Table]], target: Path) -> list[Path]:
    """A figure of the leaderboards of a model, by file name,
    where there are several.
    """
    paths: list[Path] = []
    for name, tables in rankings.items():
        if len(tables) > 1:
            paths += save(accuracy_against_tasks(tables), target / name)
    return paths


def put_in_page(page: Path, name: str, shown: Table) -> None:
    """Replaces what stands between the page's markers for this table by the table."""
    text, begin = page.read_text(encoding="utf-8"), f"<!-- table: {name} -->"
    if begin not in text:
        raise TadropError(
            f"{page}: no line {begin}, followed by <!-- end -->, "
            "says where the table goes"
        )
    before, _, rest = text.partition(begin)
    _, end, after = rest.partition("<!-- end -->")
    write_text(page, f"{before}{begin}\n{formats.markdown(shown)}{end}{after}")


def renew_page(page: Path, tables: Mapping[str, Table]) -> None:
    """Puts every table that a page has a place for into it."""
    for name, shown in tables.items():
        if f"<!-- table: {name} -->" in page.read_text(encoding="utf-8"):
            put_in_page(page, name, shown)


def after_sweep(board: Board, folder: Path, target: Path, tracker: Any = None) -> None:
    """What the runs of a board were for: prints its tables, and writes them to target.

    tracker: the node of the tracker that is told of them
    A board whose words change its runs, or take them from elsewhere, is another one and
    gets no file of its name, unless the words say where to.
    """
    try:
        for one in board.on_each_task_set():
            _show_and_write(one, folder, target, tracker)
    except TadropError as error:
        say(f"no table of {board.name}: {error}", err)


def _show_and_write(board: Board, folder: Path, target: Path, tracker: Any) -> None:
    found = collect(board, folder, partial=True)
    why_not = _why_not(found)
    sources = Sources(folder, published.FOLDER)
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch) if why_not else target
        drawn = not why_not or tracker is not None
        paths, tables = write(found, sources, where, draw=drawn)
        tell_of(tracker, lambda: of_tables(board.file, paths, group()))
        if not tables:
            text = paths[0].read_text(encoding="utf-8")
            say(text)
    for shown in tables.values():
        print_table(shown)
    if why_not:
        said = f"not written: {why_not}; paths.results=DIR writes it there"
        say(said, err)
    else:
        names = ", ".join(map(str, paths))
        say(f"written: {names}")
        where = "" if folder == RUNS / "records" else f" --records {folder}"
        say(f"next: {command()} report {board.name}{where}", err)
    tell_owed([found])


def publish(tables: Sequence[Table], tracker: Any) -> None:
    """Tells a tracker of the tables of a sweep, and of a figure of each."""
    if tracker is None or not tables:
        return
    with tempfile.TemporaryDirectory() as scratch:

        def written() -> Entry:
            paths: list[Path] = []
            for number, shown in enumerate(tables, 1):
                stem = Path(scratch) / f"table_{number}"
                paths += write_texts(stem, shown)
                paths += save(
                    accuracy_bars(shown), stem.with_name(f"{stem.name}_accuracy")
                )
            return of_tables(group() or "sweep", paths, group())

        tell_of(tracker, written)


def _why_not(found: Recorded) -> str:
    """Why a board's table is not to be written under its name; nothing if it is."""
    board = found.board
    keys = {key_of(word).lstrip("+~") for word in board.words}
    if "paths.results" in keys:
        return ""
    changed = keys & {"paths.records"}
    for key in keys - set(SUITE if board.is_open else ()):
        if key.split(".")[0].split("/")[0] not in identity.CIRCUMSTANCES:
            changed.add(key)
    if changed:
        words = ", ".join(sorted(changed))
        return f"with {words} it is another table than {board.name}'s"
    larger = rival(found)
    return f"{larger} is the larger board of that name" if larger else ""


def tell_owed(boards: Iterable[Recorded]) -> None:
    """Says what is not recorded, a line a board."""
    for found in boards:
        if found.owed:
            say(found.told(), err)
