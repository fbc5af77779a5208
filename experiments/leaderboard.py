"""Every row of the catalogue on one task set after another, with and without TADrop: run, rank, draw.

    python -m experiments.leaderboard glyph8 [glyph14 ...] [KEY=VALUE ...] [--only emr,ties] [--skip wudi]

Rows are whatever conf/merge holds. A run that is recorded is not run again, so the same command goes on where it was
stopped; a row that fails is reported at the end and the others are run. Written to results/: a table for each task set,
ordered by average, accuracy against storage for each, and accuracy against the number of tasks for all of them.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from experiments import tables
from experiments.recipes import CONF
from run import reference_configs, run
from tadrop import plot, table
from tadrop.console import err, out, print_table
from tadrop.record import Record, read
from tadrop.record import path as record_path
from tadrop.statistics import paired
from tadrop.table import Table


@dataclass
class Outcome:
    """What became of the rows of one task set."""

    tasks: str
    folder: Path | None = None
    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def rows(only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[str]:
    """The merge rows there are, without the references that stand in every table."""
    references = {"individual", "pretrained"}
    found = [path.stem for path in sorted((CONF / "merge").glob("*.yaml")) if path.stem not in references]
    if unknown := sorted({*only, *skip} - set(found)):
        sys.exit(f"error: no row is called {', '.join(unknown)}; there are {', '.join(found)}")
    return [row for row in found if (not only or row in only) and row not in skip]


def configs(tasks: str, names: Sequence[str], variants: Sequence[str], extra: Sequence[str]) -> dict[str, DictConfig]:
    """The configuration of every run by its command line, plain rows first so that a stopped board is of use."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        lines = [[f"tasks={tasks}", f"merge={row}", f"tadrop={v}", *extra] for v in variants for row in names]
        return {" ".join(line): compose("config", line) for line in lines}


def play(tasks: str, names: Sequence[str], variants: Sequence[str], extra: Sequence[str]) -> Outcome:
    """Runs what is missing. A failure costs its own row only."""
    runs = configs(tasks, names, variants, extra)
    first = next(iter(runs.values()))
    outcome = Outcome(tasks, Path(first.paths.records))
    references = {f"the reference {cfg.merge.name}": cfg for cfg in reference_configs(first)}
    for at, (line, cfg) in enumerate((references | runs).items()):
        start = time.perf_counter()
        try:
            outcome.records.append(run(cfg))
        except Exception as error:  # whatever a row dies of, the rest of the board is worth having
            reason = str(error).partition("\n")[0]
            outcome.failures.append(f"{line}: {type(error).__name__}: {reason}")
        total, seconds = len(references | runs), time.perf_counter() - start
        if seconds > 1:
            err.print(f"{at + 1}/{total} {line}: {seconds:.0f} s")
    return outcome


def recorded(tasks: str, folder: Path, variants: Sequence[str] = ("off", "on")) -> tuple[Outcome, int]:
    """What is recorded of a board, and how many of its runs are not."""
    runs = configs(tasks, rows(), variants, ())
    references = reference_configs(next(iter(runs.values())))
    files = [record_path(folder, OmegaConf.to_container(c, resolve=True)) for c in (*references, *runs.values())]
    there = [file for file in files if file.exists()]
    return Outcome(tasks, folder, [read(file) for file in there]), len(files) - len(there)


def ranked(records: Sequence[Record], folder: Path | None = None) -> Table:
    """The table, best method first by its row without TADrop (by its best row where there is none).

    Differences come with intervals where the folder of the records is given.
    """

    def average(record: Record) -> float:
        return sum(score["value"] for score in record["scores"]) / len(record["scores"])

    best: dict[str, tuple[bool, float]] = {}
    for record in records:
        name, rank = record["config"]["merge"]["name"], (record["config"]["tadrop"] is None, average(record))
        best[name] = max(best.get(name, rank), rank)
    ordered = sorted(records, key=lambda r: -best[r["config"]["merge"]["name"]][1])
    made = table.build(ordered, compare=paired(folder) if folder else None)
    return made if "stored" in made.extra else table.with_data(made)


def write(target: Path, outcomes: Sequence[Outcome], draw: bool = True) -> list[Path]:
    """Tables and figures of all boards; returns the paths."""
    boards = {outcome.tasks: ranked(outcome.records, outcome.folder) for outcome in outcomes if outcome.records}
    paths = []
    for tasks, made in boards.items():
        paths += tables.write_texts(target / f"leaderboard_{tasks}", made)
        if draw:
            paths += plot.save(plot.accuracy_against_storage(made), target / f"leaderboard_{tasks}_storage")
    if draw and len(boards) > 1:
        paths += plot.save(plot.accuracy_against_tasks(list(boards.values())), target / "leaderboard_tasks")
    return paths


def listed(words: str) -> list[str]:
    """a,b,c"""
    return [word for word in words.split(",") if word]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", help="task sets (conf/tasks), and KEY=VALUE overrides for every run")
    parser.add_argument("--only", type=listed, default=(), metavar="ROW,...", help="these rows and no others")
    parser.add_argument("--skip", type=listed, default=(), metavar="ROW,...", help="all rows but these")
    parser.add_argument("--tadrop", type=listed, default=("off", "on"), metavar="CHOICE,...", help="default: off,on")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_intermixed_args()
    extra = [word for word in options.tasks if "=" in word]
    names = rows(options.only, options.skip)
    outcomes = [play(t, names, options.tadrop, extra) for t in options.tasks if t not in extra]
    paths = write(options.out, outcomes)
    for outcome in outcomes:
        if outcome.records:
            print_table(ranked(outcome.records, outcome.folder))
    out.print("written: " + ", ".join(str(path) for path in paths), soft_wrap=True)
    failures = [f"{outcome.tasks}: {failure}" for outcome in outcomes for failure in outcome.failures]
    if failures:
        sys.exit("these rows failed:\n" + "\n".join(failures))


if __name__ == "__main__":
    main()
