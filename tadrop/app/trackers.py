"""Trackers are told of a run after its record is on disk.

So nothing that they do can lose one: a tracker that is missing, unreachable, slow or
broken costs one line on standard error,
never a run.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from tadrop.app.console import err
from tadrop.app.runs import build
from tadrop.results.record import SUFFIXES, Record

if TYPE_CHECKING:
    from wandb import Run


@runtime_checkable
class Tracker(Protocol):
    """What a tracker does."""

    def log(self, record: Record, files: Sequence[Path]) -> None:
        """One run: its configuration, numbers and files."""
        ...

    def publish(self, name: str, files: Sequence[Path]) -> None:
        """A board's tables and figures."""
        ...


def tell(
    tracker: Tracker | None, act: Callable[[Tracker], None], patience: float = 120.0
) -> bool:
    """Lets a tracker act, for `patience` seconds at most; returns whether it did.

    What went wrong is said in one line and not raised.
    """
    if tracker is None:
        return True
    problems: list[str] = []

    def attempt() -> None:
        try:
            act(tracker)
        except Exception as error:  # whatever it is, the record is what counts
            problems.append(f"{type(error).__name__}: {error}".splitlines()[0])

    worker = threading.Thread(target=attempt, daemon=True)
    worker.start()
    worker.join(patience)
    if worker.is_alive():
        problems.append(f"no answer within {patience:g} s")
    for problem in problems:
        err.print(
            f"tracker: {problem}; the record is kept, the run goes on",
            soft_wrap=True,
            markup=False,
        )
    return not problems


def numbers(record: Record) -> dict[str, float]:
    """What is worth a curve or a column.

    A score per task and their average, in percent; scale, density, bytes and seconds.
    """
    columns: dict[str, float] = {}
    for score in record["scores"]:
        columns[f"{score['metric']}/{score['task']}"] = 100 * score["value"]
    columns["average"] = sum(columns.values()) / len(columns)
    columns["scale"] = record["selection"]["scale"]
    columns["density"] = record["density"]
    columns["stored_bytes"] = record["stored_bytes"]
    for stage, seconds in record["seconds"].items():
        columns[f"seconds/{stage}"] = seconds
    return columns


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases.

    mode:   offline, online, or auto: online where the user is logged in
    group:  what the runs of one sweep share
    folder: where offline runs are kept until `wandb sync` sends them
    """

    project: str = "tadrop"
    group: str | None = None
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    folder: str = "wandb"

    def log(self, record: Record, files: Sequence[Path]) -> None:
        """See Tracker."""
        settings = {**record["config"], "key": record["key"]}
        run = self._start(record["label"], "run", settings)
        try:
            run.log(numbers(record))
            run.summary.update(numbers(record) | {"key": record["key"]})
            self._attach(run, f"record-{record['key']}", "record", files)
        finally:
            run.finish()

    def publish(self, name: str, files: Sequence[Path]) -> None:
        """See Tracker."""
        run = self._start(name, "tables", {})
        try:
            self._attach(run, name, "table", files)
        finally:
            run.finish()

    def _start(self, name: str, kind: str, settings: Mapping[str, Any]) -> "Run":
        import wandb

        mode = self.mode
        if mode == "auto":
            mode = "online" if wandb.api.api_key else "offline"
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self.project,
            group=self.group,
            name=name,
            job_type=kind,
            config=dict(settings),
            mode=mode,
            dir=self.folder,
            settings=wandb.Settings(silent=True, console="off", init_timeout=30),
        )

    def _attach(self, run: "Run", name: str, kind: str, files: Sequence[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(name, type=kind)
        for file in files:
            if file.exists():
                artifact.add_file(str(file))
        run.log_artifact(artifact)


def tell_of(node: Any, record: Record, folder: Path) -> None:
    """Tells the tracker that a node names of a run whose record is written.

    A tracker that fails costs a line, not the run.
    """
    files = [folder / f"{record['key']}{suffix}" for suffix in SUFFIXES]
    tell(build.part(node), lambda tracker: tracker.log(record, files))
