"""Where cached files lie: in the cache, or for this process alone where that cannot be
written.
"""

import atexit
import hashlib
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tadrop.storage.atomic.hidden import PART, new_file


def place(path: Path) -> Path:
    """Where a cached file is, or may be put.

    It is the path itself if that is there or can be written. If not, it is a path of the
    same name in a folder that is deleted when this process ends.
    """
    if path.exists() or is_writable(path.parent):
        return path
    words = str(path.parent.absolute()).encode("utf-8", "surrogateescape")
    return _spare() / hashlib.sha256(words).hexdigest()[:16] / path.name


@cache
def is_writable(folder: Path) -> bool:
    """Whether files can be put into a folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with new_file(folder / "probe", PART) as probe:
            probe.unlink()
    except OSError:
        return False
    return True


@cache
def _spare() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tadrop-cache-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
