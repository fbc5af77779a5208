"""Whatever is wrong with a file, told as one TadropError that names it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tadrop.errors import TadropError
from tadrop.storage.pickles.nodes import UnfitError


def first_line(error: Exception) -> str:
    """What an exception says, in one line; its type where it says nothing."""
    text = str(error)
    return text.splitlines()[0] if text else type(error).__name__


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a reader raises into one TadropError that names the file.

    Damaged and hostile files fail in every way there is, which all mean the same.
    """
    try:
        yield
    except TadropError:
        raise
    except UnfitError as error:
        raise TadropError(f"{path}: {error}") from error
    except (KeyError, IndexError) as error:
        raise TadropError(
            f"{path}: not a readable checkpoint (it names what it does not hold); "
            "fetch the file again"
        ) from error
    except Exception as error:
        raise TadropError(
            f"{path}: not a readable checkpoint ({first_line(error)})"
        ) from error


def is_file(path: Path) -> bool:
    """Whether a file is there. Raises TadropError for a name that no disk takes."""
    try:
        return path.is_file()
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise TadropError(f"{str(path)[:99]}: cannot be a file ({reason})") from error
