"""Every row on one task set after another, with and without TADrop: run, rank, draw.

    tadrop leaderboard glyph8 [glyph14 ...] [KEY=VALUE ...]
    tadrop leaderboard glyph8 [--only emr,ties] [--skip wudi] [--tadrop off]

Rows are those that declare the board `leaderboard`; those made for two models (SLERP)
stand on two tasks only. It makes the records that `run.py +board=leaderboard` makes,
plain rows first. A run that is recorded is not run again, so the same command goes on
where it was stopped; a row that fails is reported at the end and the others are run.
Written to runs/: a table for each task set, best method first; accuracy against
storage for each; and accuracy against the number of tasks for all of them.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from tadrop.app.boards.board import Board
from tadrop.app.boards.catalogue import rows_of
from tadrop.app.boards.contents import Sources
from tadrop.app.boards.recorded import recorded
from tadrop.app.boards.words import spoken
from tadrop.app.boards.writing import tell_owed, write_all
from tadrop.app.console import err, say
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import RUNS
from tadrop.app.runs.run import reference_configs, run
from tadrop.app.showing import print_table
from tadrop.errors import TadropError
from tadrop.results import published

NAME = "leaderboard"


def lineup(
    board: Board, only: Sequence[str] = (), skip: Sequence[str] = ()
) -> list[str]:
    """The rows of a leaderboard that are to be run.

    Raises TadropError for a row that no leaderboard has.
    """
    known = rows_of(NAME).split(",")
    for name in (*only, *skip):
        if name not in known:
            raise TadropError(f"no row is called {name}; there are {', '.join(known)}")
    rows: list[str] = []
    for row in rows_of(NAME, board.sweep.tasks.names).split(","):
        if row not in skip and (row in only or not only):
            rows.append(row)
    return rows


def play(board: Board, rows: Sequence[str], variants: Sequence[str]) -> list[str]:
    """Runs what is missing of some rows, references first; returns what failed, and why.

    A failure costs its own row only.
    """
    if not rows:
        return []
    choices = (f"merge={','.join(rows)}", f"tadrop={','.join(variants)}")
    runs: dict[str, DictConfig] = {}
    for cfg, words in Board(board.name, (*board.words, *choices)).jobs():
        if not runs:
            for reference in reference_configs(cfg):
                runs[f"the reference {reference.merge.name}"] = reference
        runs[" ".join(spoken(words))] = cfg
    failures: list[str] = []
    for number, (line, cfg) in enumerate(runs.items(), 1):
        start = time.perf_counter()
        try:
            run(cfg)
        except (
            Exception
        ) as error:  # whatever a row dies of, the others are worth having
            reason = str(error).partition("\n")[0]
            failures.append(f"{line}: {type(error).__name__}: {reason}")
        seconds = time.perf_counter() - start
        if seconds > 1:
            say(f"{number}/{len(runs)} {line}: {seconds:.0f} s", err)
    return failures


def listed(words: str) -> list[str]:
    """a,b,c"""
    return list(filter(None, words.split(",")))


def arguments() -> argparse.ArgumentParser:
    """The words of the verb."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "tasks",
        nargs="+",
        help="task sets (conf/tasks), and KEY=VALUE overrides for every run",
    )
    for option, default, about in (
        ("--only", "", "these rows and no others"),
        ("--skip", "", "all rows but these"),
        ("--tadrop", "off,on", "variants of each row; default: off,on"),
    ):
        parser.add_argument(
            option, type=listed, default=default, metavar="NAME,...", help=about
        )
    parser.add_argument("--out", type=Path, default=RUNS)
    return parser


def main() -> None:
    options = arguments().parse_intermixed_args()
    extra = [word for word in options.tasks if "=" in word]
    boards: list[Board] = []
    failures: list[str] = []
    with told_in_one_line():
        for word in options.tasks:
            if word not in extra:
                boards.append(Board(NAME, (f"tasks={word}", *extra)))
        for board in boards:
            rows = lineup(board, options.only, options.skip)
            failures += play(board, rows, options.tadrop)
        folder = Path(boards[0].sweep.paths.records)
        found = [recorded(board, folder) for board in boards]
        sources = Sources(folder, published.FOLDER)
        paths, tables = write_all(found, sources, options.out)
        for shown in tables.values():
            print_table(shown)
        say(f"written: {', '.join(map(str, paths))}")
        tell_owed(found)
    if failures:
        sys.exit("these rows failed:\n" + "\n".join(failures))


if __name__ == "__main__":
    main()
