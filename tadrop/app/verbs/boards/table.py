"""Renders a board's table and figures from its records.

    tadrop table demo [--records DIR] [--out DIR] [key=value ...]
    tadrop table table_8 model=vit_b32 --dry-run     what is owed, what it takes
    tadrop table table_glyph8                        a board, by the name of its file

Looks up the record of every run of a board (conf/board), prints the table and writes it
as Markdown, CSV and LaTeX with its figures. Published numbers stand beside ours where
results/published has some for the model and task set. A board on validation data has
the grid of its settings and the choice instead. Nothing is run: a missing record is an
error that names the command which makes it, or is left out with --partial.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tadrop.app.boards import cost
from tadrop.app.boards.board import Board
from tadrop.app.boards.catalogue import board_names
from tadrop.app.boards.contents import Sources
from tadrop.app.boards.recorded import collect, find
from tadrop.app.boards.writing import put_in_page, write
from tadrop.app.console import say
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import RUNS
from tadrop.app.showing import print_table
from tadrop.results import published


def parser(about: str | None) -> argparse.ArgumentParser:
    """Where records lie and files go: what the verbs of boards share."""
    arguments = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--records", type=Path, default=RUNS / "records")
    arguments.add_argument("--published", type=Path, default=published.FOLDER)
    arguments.add_argument("--out", type=Path, default=RUNS)
    return arguments


def show(board: Board, options: argparse.Namespace) -> None:
    """Prints and writes what there is of a board."""
    found = collect(board, options.records, options.partial)
    sources = Sources(options.records, options.published)
    paths, tables = write(found, sources, options.out)
    for name, shown in tables.items():
        if options.page:
            put_in_page(options.page, name, shown)
        print_table(shown)
    if not tables:
        text = paths[0].read_text(encoding="utf-8")
        say(text)
    say(f"\nrecords: {len(found.records)} in {options.records}")
    say(f"written: {', '.join(map(str, paths))}")


def main(words: Sequence[str] | None = None) -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "board", help=f"one of {', '.join(board_names())}, or a file's name"
    )
    arguments.add_argument(
        "overrides", nargs="*", help="as given to run.py, for example select=grid"
    )
    arguments.add_argument(
        "--page", type=Path, help="a Markdown page whose marked table is to be renewed"
    )
    arguments.add_argument(
        "--partial", action="store_true", help="make do with the records that are there"
    )
    arguments.add_argument(
        "--dry-run",
        action="store_true",
        help="list the runs owed, their cost and what is missing",
    )
    options = arguments.parse_args(words)
    with told_in_one_line():
        board = find(options.board, options.overrides, options.records)
        if options.dry_run:
            cost.tell(board, options.records)
        else:
            show(board, options)


if __name__ == "__main__":
    main()
