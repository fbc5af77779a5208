"""A merge written in the packed form, measured, and read back."""

import tempfile
from dataclasses import replace
from pathlib import Path

from tadrop.merging.packed import file
from tadrop.storage.atomic import caching
from tadrop.vectors.merged import Merged


def through_disk(merged: Merged, folder: Path) -> Merged:
    """What is read of a merge after it was written; the file is gone then.

    folder: where it is written for as long
    """
    place = caching.place(folder / "packed" / file.NAME).parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        path = Path(scratch) / file.NAME
        sizes = file.write(path, merged)
        back = file.read(path)
    found = {**merged.found, "packed": sizes._asdict()}
    return replace(back, density=merged.density, found=found)
