"""Weights & Biases."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tadrop.app.trackers.entry import BUNDLES, Entry, library

if TYPE_CHECKING:
    from wandb import Run


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases.

    mode:   offline, online, or auto: WANDB_MODE, or online where the user is logged in
    group:  what the runs of one sweep share; None for the sweep's own name
    tags:   beside those of the model, the tasks and the row
    folder: where offline runs are kept until `wandb sync` sends them
    """

    project: str = "tadrop"
    group: str | None = None
    tags: Sequence[str] = ()
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    folder: str = "wandb"

    def check(self) -> None:
        """See Tracker: W&B is always installed."""

    def log(self, entry: Entry) -> None:
        """See Tracker."""
        wandb = library("wandb")
        run = self._start(wandb, entry)
        try:
            if entry.numbers:
                run.log(dict(entry.numbers))
            run.summary.update({**entry.numbers, "key": entry.key})
            artifact = wandb.Artifact(entry.bundle, type=BUNDLES[entry.kind])
            for file in entry.present:
                artifact.add_file(str(file))
            run.log_artifact(artifact)
        finally:
            run.finish()

    def _start(self, wandb: Any, entry: Entry) -> "Run":
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self.project,
            group=self.group or entry.group,
            name=entry.name,
            job_type=entry.kind,
            tags=[*entry.tags, *self.tags],
            config=dict(entry.settings),
            mode=self._mode(wandb),
            dir=self.folder,
            settings=wandb.Settings(silent=True, console="off", init_timeout=30),
        )

    def _mode(self, wandb: Any) -> str:
        """Online or offline; W&B's own variable says it,
        or whether somebody has a key.
        """
        if self.mode != "auto":
            return self.mode
        said = os.environ.get("WANDB_MODE")
        has_key = not said and wandb.login(prompt=False, verify=False)
        return said or ("online" if has_key else "offline")
