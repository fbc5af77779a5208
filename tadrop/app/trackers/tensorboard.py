"""TensorBoard: a folder a run, which has the run's files beside its numbers."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tadrop.app.trackers.entry import Entry, installed, library
from tadrop.results.store.facts import leaves


@dataclass(frozen=True)
class TensorBoard:
    """TensorBoard.

    group:  the folder that the runs of one sweep share; None for the sweep's own name
    tags:   beside those of the model, the tasks and the row
    folder: of all runs: `tensorboard --logdir` shows it
    """

    group: str | None = None
    tags: Sequence[str] = ()
    folder: str = "runs/tensorboard"

    def check(self) -> None:
        """See Tracker."""
        installed("tensorboard", "tensorboard")

    def log(self, entry: Entry) -> None:
        """See Tracker."""
        library("tensorboard", "tensorboard")
        writers = library("torch.utils.tensorboard")
        words = [self.group or entry.group or "runs", f"{entry.name} {entry.key}"]
        place = Path(self.folder).joinpath(*map(_as_folder, words))
        place.mkdir(parents=True, exist_ok=True)
        with writers.SummaryWriter(str(place)) as writer:
            for name, value in entry.numbers.items():
                writer.add_scalar(name, float(value))
            writer.add_text("tags", ", ".join([*entry.tags, *self.tags]))
            if entry.settings:
                writer.add_text("settings", _listed(entry))
            for file in entry.present:
                shutil.copy2(file, place)
                _show(writer, file)


def _show(writer: Any, file: Path) -> None:
    """Shows a table in Markdown, and a picture."""
    if file.suffix == ".md":
        writer.add_text(file.stem, file.read_text(encoding="utf-8"))
    elif file.suffix == ".png":
        import numpy as np
        from PIL import Image

        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        writer.add_image(file.stem, pixels, dataformats="HWC")


def _listed(entry: Entry) -> str:
    """The settings as a list in Markdown."""
    lines: list[str] = []
    for name, value in leaves(entry.settings).items():
        lines.append(f"- `{name}`: `{json.dumps(value, ensure_ascii=False)}`")
    return "\n".join(lines)


def _as_folder(name: str) -> str:
    """A name as that of a folder."""
    return re.sub(r"[^\w.+-]+", "-", name)
