"""What a board, a sweep or a run would take: the runs owed, their time, and what they
would download.

    python run.py +board=table_30 tasks=glyph30 --dry-run
    python run.py model=vit_b32 tasks=vision8 --dry-run

The time of a run is that of the records most like it: same model, tasks, selection and
method; else the same without the method; else it is not known. `select=grid` is a
different run from `select=fixed`. A folder that has none like it is helped out by the
records that come with the project.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from tadrop.app.boards import composing
from tadrop.app.boards.board import Board, check
from tadrop.app.boards.downloads import Item, items, report
from tadrop.app.boards.recorded import Recorded, recorded
from tadrop.app.console import say
from tadrop.app.places import RECORDS
from tadrop.app.runs import build, checks
from tadrop.app.runs.run import reference_configs
from tadrop.app.terminal.plain import harmless
from tadrop.errors import TadropError
from tadrop.results import identity, record
from tadrop.results.identity import label
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
    """The report of --dry-run on a board."""
    check(board.sweep)
    found = recorded(board, folder)
    head = [
        f"{board.name}: {board.about}",
        f"{found.count} runs, {found.needed} recorded, {len(found.owed)} owed",
    ]
    return _report(head, found.owed, folder)


def dry_run_of(words: Sequence[str], folder: Path) -> str:
    """The report of --dry-run on a run, or on a sweep. words: of the command line."""
    runs: dict[str, Config] = {}
    for job in map(composing.configured, composing.batches(words)):
        checks.check(job)
        if not job.evaluate:
            raise TadropError(
                "--dry-run tells of runs that are evaluated; of a merge that is only "
                "written tadrop merge --dry-run tells"
            )
        for cfg in (*reference_configs(job), job):
            config = build.resolved(cfg)
            runs.setdefault(identity.key(config), config)
    owed = {key: runs[key] for key in runs if not (folder / f"{key}.json").exists()}
    recorded_runs = len(runs) - len(owed)
    head = [f"{len(runs)} runs, {recorded_runs} recorded, {len(owed)} owed"]
    return _report(head, owed, folder)


def _report(head: Sequence[str], owed: Mapping[str, Config], folder: Path) -> str:
    """The runs that are owed by key, their time, and what they would download."""
    folders = _folders(folder)
    times: list[float | None] = []
    lines = [*head]
    for key, config in owed.items():
        times.append(_expected(config, folders))
        lines.append(f"  {key}  {_title(config):<36}  {_time(times[-1])}")
    if times:
        lines.append(_sum(times))
    return "\n".join([*lines, *_needs(owed.values())])


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


def _needs(owed: Iterable[Config]) -> list[str]:
    """What the runs read: what of it is at hand, and what is to be downloaded."""
    suites: dict[str, Config] = {}
    for config in owed:
        words = {"model": config["model"], "tasks": config["tasks"]}
        suites.setdefault(json.dumps(words), config)
    found: dict[Item, None] = {}
    for config in suites.values():
        found |= dict.fromkeys(items(config))
    return report(list(found)) if found else ["nothing to run, nothing to download"]


def _time(time: float | None) -> str:
    """Seconds as people say them."""
    if time is None:
        return "?"
    if time < 120:
        return f"{time:.0f} s"
    return f"{time / 60:.0f} min" if time < 7200 else f"{time / 3600:.1f} h"


def tell(board: Board, folder: Path) -> None:
    """Prints the report of a board. Nothing is downloaded."""
    say(harmless(dry_run(board, folder), but="\n"))


def tell_of(words: Sequence[str], folder: Path) -> None:
    """Prints the report of a run or a sweep. Nothing is downloaded."""
    say(harmless(dry_run_of(words, folder), but="\n"))
