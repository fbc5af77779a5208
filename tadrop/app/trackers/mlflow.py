"""MLflow: on a server, or in a database file and a folder of this machine."""

import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tadrop.app.trackers.entry import Entry, installed, library
from tadrop.results.store.facts import leaves

LONGEST = 6000  # characters of a parameter's value, as MLflow has it
FEW = 100  # parameters told at once, as MLflow has it


@dataclass(frozen=True)
class MLflow:
    """MLflow.

    uri:    of a server; None for MLFLOW_TRACKING_URI, or else a file in the folder
    group:  what the runs of one sweep share; None for the sweep's own name
    tags:   beside those of the model, the tasks and the row
    folder: where runs are kept where there is no server
    """

    project: str = "tadrop"
    group: str | None = None
    tags: Sequence[str] = ()
    uri: str | None = None
    folder: str = "runs/mlflow"

    def check(self) -> None:
        """See Tracker."""
        installed("mlflow", "mlflow")

    def log(self, entry: Entry) -> None:
        """See Tracker."""
        tracking, entities = _library("mlflow.tracking"), _library("mlflow.entities")
        uri, place = self._places()
        client = tracking.MlflowClient(tracking_uri=uri)
        run = client.create_run(
            self._experiment(client, place), run_name=entry.name, tags=self._tags(entry)
        )
        name, now = run.info.run_id, int(time.time() * 1000)
        values = leaves(entry.settings).items()
        settings = [entities.Param(key, _spelled(value)) for key, value in values]
        for start in range(0, len(settings), FEW):
            client.log_batch(name, params=settings[start : start + FEW])
        metrics: list[Any] = []
        for key, value in entry.numbers.items():
            metrics.append(entities.Metric(key, float(value), now, 0))
        client.log_batch(name, metrics=metrics)
        for file in entry.present:
            client.log_artifact(name, str(file))
        client.set_terminated(name)

    def _places(self) -> tuple[str, str | None]:
        """The address of the server or of the file, and of the folder beside a file."""
        server = self.uri or os.environ.get("MLFLOW_TRACKING_URI")
        if server:
            return server, None
        folder = Path(self.folder).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder / 'mlflow.db'}", (folder / "files").as_uri()

    def _experiment(self, client: Any, place: str | None) -> str:
        """The number of the project, which is made where it is not there."""
        known = client.get_experiment_by_name(self.project)
        if known is not None:
            return known.experiment_id
        return client.create_experiment(self.project, artifact_location=place)

    def _tags(self, entry: Entry) -> dict[str, str]:
        """MLflow's tags have values: what an entry's tags are is 1."""
        words = {"kind": entry.kind, "key": entry.key}
        if self.group or entry.group:
            words["group"] = str(self.group or entry.group)
        return words | dict.fromkeys([*entry.tags, *self.tags], "1")


def _library(module: str) -> Any:
    """A part of MLflow, which says less than it would."""
    found = library(module, "mlflow")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return found


def _spelled(value: Any) -> str:
    """A setting as a parameter of MLflow."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:LONGEST]
