"""Atomic writes: a file is there whole or not at all, whatever happens while it is
written. Locks of who makes it.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout
from torch import Tensor

from tadrop.types import TadropError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Calls write on a temporary file in the same folder, then renames it to path;
    removes it on any failure.

    Raises TadropError where the disk says no. Of two writers of one path the last wins,
    whole.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise TadropError(f"{path}: cannot be written ({error})") from error
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TadropError(
            f"{path}: cannot be written ({error}); nothing is left of it"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def write_text(path: Path, text: str) -> None:
    write_atomically(
        path, lambda temporary: temporary.write_text(text, encoding="utf-8")
    )


def write_bytes(path: Path, data: bytes) -> None:
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """A safetensors file of the tensors, with string metadata."""
    from safetensors.torch import save_file

    write_atomically(
        path,
        lambda temporary: save_file(dict(tensors), temporary, dict(metadata or {})),
    )


@contextmanager
def claimed(path: Path, locks: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """One process at a time makes a file; another that wants to make it waits, and
    finds it there.

    The lock, a file in the folder `locks`, is gone with its process, however that ends.
    Where there can be no locks both make the file, which costs time and nothing else:
    writes are atomic.
    """
    lock = FileLock(
        locks / f"{sha256(str(path.resolve()).encode()).hexdigest()[:16]}.lock",
        poll_interval=0.5,
    )
    try:
        locks.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire()
    except (
        OSError,
        NotImplementedError,
    ):  # a folder that cannot be written, a file system without locks
        pass
    try:
        yield
    finally:
        lock.release()
