"""What a board would take: the runs owed, their time, and what is not at hand.

    python run.py +board=table_30 tasks=glyph30 --dry-run

The time of a run is that of the records most like it: same model, tasks, selection and
method; else the same without the method; else it is not known. `select=grid` is a
different run from `select=fixed`. A folder that has none like it is helped out by the
records that come with the project.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from omegaconf import DictConfig

from tadrop.app.boards.board import Board, check, comment
from tadrop.app.boards.recorded import Recorded, recorded
from tadrop.app.console import say
from tadrop.app.places import CONF, RECORDS
from tadrop.app.runs import build
from tadrop.errors import TadropError
from tadrop.results import identity, record
from tadrop.results.naming import label
from tadrop.results.record import Record

SHIPPED = RECORDS

Config = Mapping[str, Any]


def _alike(config: Config, with_method: bool) -> tuple[object, ...]:
    """What two runs share that take the same time."""
    names = tuple(config["tasks"]["names"])
    alike = (config["model"]["name"], names, config["limit"], config["select"])
    if not with_method:
        return alike
    return (*alike, config["merge"]["name"], identity.tadrop(config) is None)


def seconds(config: Config, records: Sequence[Record]) -> float | None:
    """The expected time of a run; None where no record is like it."""
    for with_method in (True, False):
        wanted = _alike(config, with_method)
        times: list[float] = []
        for one in records:
            if _alike(one["config"], with_method) == wanted:
                times.append(sum(one["seconds"].values()))
        if times:
            return mean(times)
    return None


def _expected(config: Config, folders: Sequence[Sequence[Record]]) -> float | None:
    """The time of a run by the first folder of records that knows of one like it."""
    for records in folders:
        time = seconds(config, records)
        if time is not None:
            return time
    return None


def missing(config: Config) -> list[str]:
    """What opening the base, the experts and the data sets complains of, one line each."""
    tasks = build.tasks(config["tasks"])
    model = build.model(config["model"]).bound(tasks)
    lines: list[str] = []
    for task in (None, *tasks.names):
        try:
            model.open_base() if task is None else model.open_expert(task)
        except TadropError as error:
            lines.append(str(error))
    return lines + list(tasks.needs())


def ahead(found: Recorded) -> str:
    """What running a board takes, in a line that is said before its first run."""
    if not found.owed:
        return f"{found.board.name}: all {found.count} runs are recorded already"
    folders = _folders(found.folder)
    times = [_expected(config, folders) for config in found.owed.values()]
    expected = (
        _sum(times) if any(times) else "none like them is recorded, to tell a time"
    )
    return f"{found.board.name}: {len(times)} of {found.count} runs; {expected}"


def _folders(folder: Path) -> list[list[Record]]:
    """The records of a folder, and those that come with the project."""
    places = dict.fromkeys((folder.resolve(), SHIPPED.resolve()))
    return list(map(record.read_all, filter(Path.is_dir, places)))


def dry_run(board: Board, folder: Path) -> str:
    """The report of --dry-run."""
    check(board.sweep)
    found = recorded(board, folder)
    folders = _folders(folder)
    times: list[float | None] = []
    lines = [
        f"{board.name}: {board.about}",
        f"{found.count} runs, {found.needed} recorded, {len(found.owed)} owed",
    ]
    for key, config in found.owed.items():
        times.append(_expected(config, folders))
        lines.append(f"  {key}  {_title(config):<36}  {_time(times[-1])}")
    if times:
        lines.append(_sum(times))
    return "\n".join([*lines, *_needs(board)])


def _title(config: Config) -> str:
    """A run's name, with its seed where it has one."""
    chance = identity.settings(config)["seed"] is not None
    return label(config) + (f", seed {config['seed']}" if chance else "")


def _sum(times: Sequence[float | None]) -> str:
    """The time of all owed runs together."""
    known = [time for time in times if time is not None]
    line = f"expected: {_time(sum(known) if known else None)} on one process"
    unknown = len(times) - len(known)
    return line + (
        f", and {unknown} runs like none that is recorded" if unknown else ""
    )


def _needs(board: Board) -> list[str]:
    """What is not at hand, and what the model's file says about its size."""
    lines: list[str] = []
    about: dict[str, None] = {}
    for cfg in _suites(board):
        lines += missing(build.resolved(cfg))
        about[comment(CONF / "model" / f"{cfg.model.name}.yaml")] = None
    if not lines:
        return ["checkpoints and data: all at hand, nothing to download"]
    head = f"to provide or download: {len(lines)}; {' '.join(about)}"
    return [head, *map("  {}".format, dict.fromkeys(lines))]


def _suites(board: Board) -> Iterator[DictConfig]:
    """A configuration for each model and task set of a board."""
    seen: set[str] = set()
    for cfg, _ in board.jobs():
        suite = str(cfg.model) + str(cfg.tasks.names)
        if suite not in seen:
            seen.add(suite)
            yield cfg


def _time(time: float | None) -> str:
    """Seconds as people say them."""
    if time is None:
        return "?"
    if time < 120:
        return f"{time:.0f} s"
    return f"{time / 60:.0f} min" if time < 7200 else f"{time / 3600:.1f} h"


def tell(board: Board, folder: Path) -> None:
    """Prints the report; looking must not download."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported
    say(dry_run(board, folder))
