"""Files and folders that are being written, so that a process that is told to stop can
take them away.
"""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE = 0.5  # seconds that a stop waits for a disk that is slow to make a file

_paths: set[Path] = set()
_making = threading.Lock()
_stopping = threading.Event()
_here = threading.local()  # making: whether this thread is within making()


@contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """Says that what lies at a path is of no use before the block has ended."""
    _paths.add(path)
    try:
        yield
    finally:
        _paths.discard(path)


@contextmanager
def making() -> Iterator[None]:
    """Around what makes an unfinished file: once a process stops none is made."""
    with _making:
        _here.making = True
        try:
            yield
        finally:
            _here.making = False
    if _stopping.is_set():
        halt()


def halt() -> None:
    """This thread does nothing more, as another one ends the process.

    What it writes is deleted meanwhile, and its surprise would be told as a mistake. A
    thread that makes an unfinished file ends that first, so that the file is known.
    """
    _stopping.set()
    if not getattr(_here, "making", False):
        threading.Event().wait()


def remove_unfinished() -> None:
    """Deletes what is being written. The process ends after this.

    Nothing new is begun: what makes files waits for a lock that is never given back.
    """
    _making.acquire(timeout=PATIENCE)
    for path in tuple(_paths):
        with suppress(OSError):
            remove(path)


def remove(path: Path) -> None:
    """Deletes a file, or a folder as far as that can be done.

    Raises OSError for a file that cannot be deleted; one that is not there is no error.
    """
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
