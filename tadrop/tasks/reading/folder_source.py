"""Image data in plain folders: a folder a class."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tadrop.numerics.seeds import generator
from tadrop.tasks.reading.images import Row
from tadrop.tasks.reading.sampling import sample, usable
from tadrop.types import TadropError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


@dataclass(frozen=True)
class FolderSource:
    """Images in DIR/SPLIT/CLASS/*, or in DIR/CLASS/*.

    Of the latter a seeded share of each class, `holdout`, is held out for test.
    stamp: changes when the data do
    """

    place: str
    stamp: Any
    splits: Mapping[str, str]
    holdout: float

    def identity(self) -> dict[str, Any]:
        """What the rows depend on: it names them in a cache."""
        return {
            "place": self.place,
            "stamp": self.stamp,
            "splits": self.splits,
            "holdout": self.holdout,
        }

    def class_names(self) -> list[str]:
        """The names of the folders, in the order of their labels."""
        folders = filter(Path.is_dir, self._folder("test").iterdir())
        return sorted(folder.name for folder in folders)

    def _folder(self, split: str) -> Path:
        """Where the classes of a split lie; validation is a part of train."""
        wanted = "train" if split == "validation" else split
        named = Path(self.place) / self.splits.get(wanted, wanted)
        return named if named.is_dir() else Path(self.place)

    def _files(self, folder: Path, name: str, split: str) -> list[Path]:
        """The images of a class that are of train or of test."""
        files = sorted(filter(_is_image, (folder / name).rglob("*")))
        if folder != Path(self.place):
            return files
        count = len(files)
        order = generator("holdout", name).permutation(count)
        held_out = np.zeros(count, dtype=bool)
        held_out[order[: max(1, round(self.holdout * count))]] = True
        rows = np.flatnonzero(held_out == (split == "test"))
        return [files[row] for row in rows]

    def rows(self, split: str, limit: int | None) -> Iterator[Row]:
        """All images of a split, or a seeded sample of them.

        Raises TadropError naming a file that cannot be read.
        """
        folder = self._folder(split)
        rows = []
        for label, name in enumerate(self.class_names()):
            for file in self._files(folder, name, split):
                rows.append((file, label))
        chosen = usable(len(rows), split)
        if limit is not None:
            chosen = chosen[sample(len(chosen), limit)]
        for row in chosen:
            file, label = rows[row]
            try:
                data = file.read_bytes()
            except OSError as error:
                raise TadropError(
                    f"{file}: cannot be read ({error.strerror})"
                ) from error
            yield Row(data, label, str(file))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES
