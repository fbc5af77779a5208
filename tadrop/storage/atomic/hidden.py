"""Hidden files and folders beside what is being written, and what killed writers left.

A hidden name says of what it is a part, so that the next writer of the same file or
folder finds what is left there. A lock that the system holds for a living process tells
leftovers from what another process is writing now; it is gone with its process, however
that ends, and there is no file of it.
"""

import hashlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tadrop.storage.unfinished import making, remove, unfinished

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

# The kinds of hidden names: what is being written, a folder that was replaced, a file.
NEW, OLD, PART = "new", "old", "part"
LONGEST = 60  # characters of a name that stand in its hidden names
TRIES = 100


def hidden_name(path: Path, word: str) -> str:
    """What hidden names beside a path begin with; a word tells their kinds apart."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    return f".{path.name[:LONGEST]}.{digest}.{word}."


def left(path: Path, word: str) -> list[Path]:
    """What lies beside a path under its hidden names, living or dead."""
    prefix = hidden_name(path, word)
    found: list[Path] = []
    with suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and not entry.is_symlink():
                found.append(Path(entry.path))
    return sorted(found)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Tells other processes that a file or folder is in use, as long as this one lives.

    False where another process has it in use.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        yield _lock(handle) is not False
    finally:
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Takes the lock of an open file. False where it is taken;
    None if nobody can tell.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Whether no living process uses a file or folder;
    nobody begins to in the block.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        yield _lock(handle) is True
    finally:
        os.close(handle)


@contextmanager
def new_folder(path: Path, word: str) -> Iterator[Path]:
    """A new hidden folder beside a path, in use until the block ends.

    Raises OSError where there can be none. It is left where it is, unless the process
    is told to stop in the block.
    """
    with _new(path, word, lambda folder: folder.mkdir()) as folder:
        yield folder


@contextmanager
def new_file(path: Path, word: str) -> Iterator[Path]:
    """The same for an empty file, with the ending of the path."""
    with _new(path, word, lambda file: file.touch(exist_ok=False)) as file:
        yield file


@contextmanager
def _new(path: Path, word: str, make: Callable[[Path], None]) -> Iterator[Path]:
    with ExitStack() as opened:
        made = _made(path, word, make, opened)
        yield made


def _made(
    path: Path, word: str, make: Callable[[Path], None], opened: ExitStack
) -> Path:
    """A new hidden file or folder, in use as long as `opened` is."""
    for _ in range(TRIES):
        name = hidden_name(path, word) + secrets.token_hex(4) + path.suffix[:9]
        made = path.with_name(name)
        try:
            with making():
                make(made)
                opened.enter_context(unfinished(made))
        except FileExistsError:
            continue
        try:
            # Before it was locked somebody may have taken it for a leftover, who
            # deletes it now, or has.
            if opened.enter_context(held(made)) and made.exists():
                return made
        except FileNotFoundError:
            pass
        except BaseException:
            remove(made)
            raise
        opened.close()
    raise FileExistsError(path)


def sweep(path: Path, word: str) -> None:
    """Deletes what killed writers of a path left beside it."""
    for leftover in left(path, word):
        with abandoned(leftover) as dead:
            if dead:
                remove(leftover)
