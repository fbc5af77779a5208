"""What is asked of a measurement, looked at before torch is loaded."""

from collections.abc import Sequence
from pathlib import Path

from tadrop.errors import TadropError


def check_data(data: Path, limit: int) -> None:
    """Raises TadropError for data that are not there, and for no examples of them."""
    if not data.exists():
        raise TadropError(f"{data}: no such text file, or folder of images by class")
    check_positive("--limit", limit)


def check_positive(option: str, number: int) -> None:
    """Raises TadropError for a number of things of which there is none."""
    if number < 1:
        raise TadropError(f"{option} {number}: it is 1 at least")


def check_folder(folder: Path) -> None:
    """Raises TadropError for a merge's folder that is none."""
    if not folder.is_dir():
        raise TadropError(f"{folder}: there is no such folder; OUT of a merge is one")


def listed(option: str, text: str) -> list[str]:
    """The words of `A,B`. Raises TadropError for one that is missing, or said twice."""
    words = list(map(str.strip, text.split(",")))
    if "" in words:
        raise TadropError(f"{option} {text}: names with a comma between: A,B")
    _check_apart(option, words)
    return words


def _check_apart(option: str, words: Sequence[str]) -> None:
    for word in words:
        if words.count(word) > 1:
            raise TadropError(f"{option}: {word} is named twice")
