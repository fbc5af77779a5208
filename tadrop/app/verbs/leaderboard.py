"""Every row of the catalogue on one task set after another, with and without TADrop:
run, rank, draw.

    tadrop leaderboard glyph8 [glyph14 ...] [KEY=VALUE ...] [--only
    emr,ties] [--skip wudi]

Rows are whatever conf/merge holds; those for two models (SLERP) stand on glyph2 only. A
run that is recorded is not run again, so the same command goes on where it was stopped;
a row that fails is reported at the end and the others are run. Written to results/: a
table for each task set, ordered by average, which names the rows that are not recorded;
accuracy against storage for each; and accuracy against the number of tasks for all of
them.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tadrop.app.console import err, out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import CONF, RUNS
from tadrop.app.runs.run import reference_configs, run
from tadrop.app.showing import print_table
from tadrop.app.verbs import table as tables
from tadrop.results import table
from tadrop.results.figures import boards as figures
from tadrop.results.figures.style import save
from tadrop.results.intervals import paired
from tadrop.results.naming import label
from tadrop.results.record import Record, read
from tadrop.results.record import path as record_path
from tadrop.results.table import Table
from tadrop.types import TadropError

ABOUT = "Every method of the catalogue, plain and with TADrop, best first."


@dataclass(frozen=True)
class Board:
    """What is recorded of the rows on one task set, and the titles of those that are
    not. lines: of runs, by key
    """

    tasks: str
    folder: Path
    records: list[Record]
    owed: list[str] = field(default_factory=list)
    lines: dict[str, str] = field(default_factory=dict)


def rows(only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[str]:
    """The merge rows there are, without the references that stand in every table."""
    references = {"individual", "pretrained"}
    found = [
        path.stem
        for path in sorted((CONF / "merge").glob("*.yaml"))
        if path.stem not in references
    ]
    if unknown := sorted({*only, *skip} - set(found)):
        raise TadropError(
            f"no row is called {', '.join(unknown)}; there are {', '.join(found)}"
        )
    return [row for row in found if (not only or row in only) and row not in skip]


def configs(
    tasks: str, names: Sequence[str], variants: Sequence[str], extra: Sequence[str]
) -> dict[str, DictConfig]:
    """The configuration of every run by its command line, plain rows first so that a
    stopped board is of use.

    Rows made for another number of models are left out.
    """
    node = _composed((f"tasks={tasks}", *extra)).tasks
    found = {}
    for variant, row in product(variants, names):
        words = (f"merge={row}", f"tadrop={variant}", *extra)
        cfg = OmegaConf.create({**_composed(words), "tasks": node})
        if cfg.merge.get("models") in (None, len(node.names)):
            found[" ".join((f"tasks={tasks}", *words))] = cfg
    return found


@cache
def _composed(words: tuple[str, ...]) -> DictConfig:
    """Boards differ in their tasks alone, so that a row is composed once for all of
    them.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(words))


def play(
    tasks: str, names: Sequence[str], variants: Sequence[str], extra: Sequence[str]
) -> list[str]:
    """Runs what is missing, references first; returns what failed, and why. A failure
    costs its own row only.
    """
    failures: list[str] = []
    rows_of = configs(tasks, names, variants, extra)
    if not rows_of:
        return failures
    references = {
        f"the reference {cfg.merge.name}": cfg
        for cfg in reference_configs(next(iter(rows_of.values())))
    }
    runs = references | rows_of
    for at, (line, cfg) in enumerate(runs.items()):
        start = time.perf_counter()
        try:
            run(cfg)
        except (
            Exception
        ) as error:  # whatever a row dies of, the rest of the board is worth having
            reason = str(error).partition("\n")[0]
            failures.append(f"{line}: {type(error).__name__}: {reason}")
        if (seconds := time.perf_counter() - start) > 1:
            err.print(f"{at + 1}/{len(runs)} {line}: {seconds:.0f} s")
    return failures


def recorded(
    tasks: str, extra: Sequence[str] = (), folder: Path | None = None
) -> Board:
    """The board as far as it is recorded: in a folder, or where the configuration says."""
    runs = configs(tasks, rows(), ("off", "on"), extra)
    first = next(iter(runs.values()))
    board = Board(tasks, folder or Path(first.paths.records), [])
    references = {
        " ".join(
            (f"tasks={tasks}", f"merge={cfg.merge.name}", "tadrop=off", *extra)
        ): cfg
        for cfg in reference_configs(first)
    }
    for line, cfg in (references | runs).items():
        config = OmegaConf.to_container(cfg, resolve=True)
        file = record_path(board.folder, config)
        board.lines[file.stem] = line
        if file.exists():
            board.records.append(read(file))
        else:
            board.owed.append(label(config))
    return board


def standing(folder: Path) -> list[Board]:
    """The boards more than half of whose rows are recorded."""
    sets = sorted(path.stem for path in (CONF / "tasks").glob("glyph*.yaml"))
    found = [recorded(tasks, folder=folder) for tasks in sets]
    return [board for board in found if len(board.records) > len(board.owed)]


def ranked(board: Board) -> Table:
    """The table, best method first by its row without TADrop (by its best row where
    there is none).
    """

    def average(record: Record) -> float:
        return sum(score["value"] for score in record["scores"]) / len(record["scores"])

    best: dict[str, tuple[bool, float]] = {}
    for record in board.records:
        name, rank = (
            record["config"]["merge"]["name"],
            (record["config"]["tadrop"] is None, average(record)),
        )
        best[name] = max(best.get(name, rank), rank)
    ordered = sorted(
        board.records, key=lambda r: -best[r["config"]["merge"]["name"]][1]
    )
    made = table.build(ordered, compare=paired(board.folder))
    made = made if "stored" in made.extra else table.with_data(made)
    missing = f" Not recorded: {', '.join(board.owed)}." if board.owed else ""
    return replace(made, caption=made.caption + missing)


def write(
    target: Path, tables_by_tasks: Mapping[str, Table], draw: bool = True
) -> list[Path]:
    """Tables and figures of all boards; returns the paths."""
    paths = []
    for tasks, made in tables_by_tasks.items():
        paths += tables.write_texts(target / f"leaderboard_{tasks}", made)
        if draw:
            paths += save(
                figures.accuracy_against_storage(made),
                target / f"leaderboard_{tasks}_storage",
            )
    if draw and len(tables_by_tasks) > 1:
        figure = figures.accuracy_against_tasks(list(tables_by_tasks.values()))
        paths += save(figure, target / "leaderboard_tasks")
    return paths


def listed(words: str) -> list[str]:
    """a,b,c"""
    return [word for word in words.split(",") if word]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "tasks",
        nargs="+",
        help="task sets (conf/tasks), and KEY=VALUE overrides for every run",
    )
    parser.add_argument(
        "--only",
        type=listed,
        default=(),
        metavar="ROW,...",
        help="these rows and no others",
    )
    parser.add_argument(
        "--skip", type=listed, default=(), metavar="ROW,...", help="all rows but these"
    )
    parser.add_argument(
        "--tadrop",
        type=listed,
        default=("off", "on"),
        metavar="CHOICE,...",
        help="default: off,on",
    )
    parser.add_argument("--out", type=Path, default=RUNS)
    options = parser.parse_intermixed_args()
    extra = [word for word in options.tasks if "=" in word]
    sets = [word for word in options.tasks if word not in extra]
    with told_in_one_line():
        names = rows(options.only, options.skip)
        failures = [
            failure
            for tasks in sets
            for failure in play(tasks, names, options.tadrop, extra)
        ]
        boards = [recorded(tasks, extra) for tasks in sets]
        made = {board.tasks: ranked(board) for board in boards if board.records}
        for one in made.values():
            print_table(one)
        out.print(
            "written: " + ", ".join(str(path) for path in write(options.out, made)),
            soft_wrap=True,
        )
    if failures:
        sys.exit("these rows failed:\n" + "\n".join(failures))


if __name__ == "__main__":
    main()
