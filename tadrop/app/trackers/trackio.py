"""Trackio: a database of this machine, or a space of the Hugging Face hub."""

import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tadrop.app.trackers.entry import BUNDLES, Entry, installed, library


@dataclass(frozen=True)
class Trackio:
    """Trackio.

    group:  what the runs of one sweep share; None for the sweep's own name
    tags:   beside those of the model, the tasks and the row
    space:  of the hub, USER/NAME; None for this machine alone
    folder: where runs are kept, unless TRACKIO_DIR says where
    """

    project: str = "tadrop"
    group: str | None = None
    tags: Sequence[str] = ()
    space: str | None = None
    folder: str = "runs/trackio"

    def check(self) -> None:
        """See Tracker."""
        installed("trackio", "trackio")

    def log(self, entry: Entry) -> None:
        """See Tracker."""
        # Read once, when the library is imported.
        os.environ.setdefault("TRACKIO_DIR", str(Path(self.folder).absolute()))
        trackio = library("trackio", "trackio")
        facts = {"kind": entry.kind, "tags": [*entry.tags, *self.tags]}
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of itself there
            run = trackio.init(
                project=self.project,
                name=f"{entry.name} {entry.key}",
                group=self.group or entry.group,
                space_id=self.space,
                config={**entry.settings, **facts},
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            try:
                # A run without a number is not kept.
                run.log({**entry.numbers, "files": len(entry.present)})
                artifact = trackio.Artifact(entry.bundle, BUNDLES[entry.kind])
                for file in entry.present:
                    artifact.add_file(str(file))
                if entry.present:
                    run.log_artifact(artifact)
            finally:
                run.finish()
