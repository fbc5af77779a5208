"""Atomic writes: a file is there whole or not at all, whatever happens while it is
written. Locks make sure that one process at a time makes a file.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from tadrop.errors import TadropError
from tadrop.storage.atomic.hidden import PART, new_file, sweep

if TYPE_CHECKING:
    from torch import Tensor


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls write on a temporary file in the same folder, then renames it to path.

    The temporary file is removed on any failure; what a killed writer of the same path
    left is removed by the next one. Raises TadropError where the disk refuses. Of two
    writers of one path the last one's file stays, whole.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path, PART)
        with new_file(path, PART) as temporary:
            _write_and_rename(temporary, path, write)
    except OSError as error:
        raise TadropError(
            f"{path}: cannot be written ({error}); nothing is left of it"
        ) from error


def _write_and_rename(
    temporary: Path, path: Path, write: Callable[[Path], object]
) -> None:
    try:
        write(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, atomically."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes bytes, atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomically(path, write)


def write_tensors(
    path: Path,
    tensors: "Mapping[str, Tensor]",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a safetensors file with string metadata, atomically.

    Others may read it as far as the system lets them read new files; the library that
    writes it would keep it to its owner.
    """
    from safetensors.torch import save_file

    def write(temporary: Path) -> None:
        mode = temporary.stat().st_mode
        save_file(dict(tensors), temporary, dict(metadata or {}))
        temporary.chmod(mode)

    write_atomically(path, write)


@contextmanager
def claimed(path: Path, locks: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """One process at a time makes a file; another one waits, and then finds it there.

    The lock, a file in the folder `locks`, is gone with its process, however that ends.
    Where there can be no locks both processes make the file, which costs time and
    nothing else, since writes are atomic.
    """
    name = sha256(str(path.resolve()).encode()).hexdigest()[:16]
    lock = FileLock(locks / f"{name}.lock", poll_interval=0.5)
    try:
        locks.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire()
    except (OSError, NotImplementedError):
        # The folder cannot be written, or its file system has no locks.
        pass
    try:
        yield
    finally:
        lock.release()
