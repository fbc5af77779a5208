"""Data sets laid out as the public ones are: archives, configurations, columns."""

import io
import tarfile

import numpy as np

from tests import tiny_clip as tiny

SHARDS = {"train": 1, "test": 2}


def picture(row, shape=(12, 12)):
    """A small grey image that tells its row."""
    return tiny.png(np.full(shape, row, np.uint8))


def write_tars(folder, count=14, classes=7):
    """A WebDataset as clip-benchmark's are: SPLIT/N.tar, members NAME.jpg, NAME.cls."""
    for split, shards in SHARDS.items():
        for shard in range(shards):
            path = folder / split / f"{shard}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            with tarfile.open(path, "w") as archive:
                for row in range(shard, count, shards):
                    _add(archive, f"s{row:07d}.jpg", picture(row))
                    _add(archive, f"s{row:07d}.cls", str(row % classes).encode())
        (folder / split / "nshards.txt").write_text(str(shards))
    (folder / "classnames.txt").write_text("angry\ndisgusted\n")
    (folder / "README.md").write_text("# fer2013\n")


def _add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
