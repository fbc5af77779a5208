"""Trackers: told of a run after its record is on disk, so that nothing they do can lose
one.

A tracker that is missing, unreachable, slow or broken costs one line on standard error,
never a run.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tadrop.app.console import err
from tadrop.app.runs import build
from tadrop.results.record import SUFFIXES, Record

if TYPE_CHECKING:
    from wandb import Run


class Tracker(Protocol):
    """What a tracker does."""

    def log(self, record: Record, files: Sequence[Path]) -> None:
        """One run: its configuration, numbers and files."""
        ...

    def publish(self, name: str, files: Sequence[Path]) -> None:
        """A recipe's tables and figures."""
        ...


def tell(
    tracker: Tracker | None, act: Callable[[Tracker], None], patience: float = 120.0
) -> bool:
    """Lets a tracker act, for `patience` seconds at most. Whether it did; what went
    wrong is said, not raised.
    """
    if tracker is None:
        return True
    problems: list[str] = []

    def attempt() -> None:
        try:
            act(tracker)
        except (
            Exception
        ) as error:  # whatever a tracker raises, the record is what counts
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
    """What is worth a curve or a column: score per task and average in percent, scale,
    density, seconds.
    """
    scores = {f"{s['metric']}/{s['task']}": 100 * s["value"] for s in record["scores"]}
    facts = {
        "average": sum(scores.values()) / len(scores),
        "scale": record["selection"]["scale"],
    }
    facts |= {"density": record["density"], "stored_bytes": record["stored_bytes"]}
    return (
        scores
        | facts
        | {f"seconds/{stage}": value for stage, value in record["seconds"].items()}
    )


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases. mode: offline | online | auto (online where the user is logged
    in).

    group: runs of one sweep share it; folder: where offline runs are kept until `wandb
    sync`
    """

    project: str = "tadrop"
    group: str | None = None
    mode: str = "auto"
    folder: str = "wandb"

    def log(self, record: Record, files: Sequence[Path]) -> None:
        run = self._start(record["label"], "run", record["config"], record["key"])
        try:
            run.log(numbers(record))
            run.summary.update(numbers(record) | {"key": record["key"]})
            self._attach(run, f"record-{record['key']}", "record", files)
        finally:
            run.finish()

    def publish(self, name: str, files: Sequence[Path]) -> None:
        run = self._start(name, "tables", {}, None)
        try:
            self._attach(run, name, "table", files)
        finally:
            run.finish()

    def _start(
        self, name: str, kind: str, config: Mapping[str, Any], key: str | None
    ) -> "Run":
        import wandb

        mode = (
            self.mode
            if self.mode != "auto"
            else "online"
            if wandb.api.api_key
            else "offline"
        )
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self.project,
            group=self.group,
            name=name,
            job_type=kind,
            config=dict(config) | ({} if key is None else {"key": key}),
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
