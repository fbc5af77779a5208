"""What the cells of a data set hold: encoded images and class numbers."""

from pathlib import Path
from typing import Any


def encoded(value: Any, inside: bool) -> bytes:
    """An image's bytes, which a file may hold as they are, or beside a path.

    inside: they must be in the data set's own files, which may name no other file
    """
    if isinstance(value, bytes):
        return value
    data = value["bytes"]
    if data is None and not inside:
        return Path(value["path"]).read_bytes()
    if not isinstance(data, bytes):
        raise TypeError("the bytes of an image are not in the file")
    return data


def class_number(value: Any) -> int:
    """A class number, which tar archives spell as text."""
    if isinstance(value, bytes | str):
        return int(value)
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no class number")
    return int(value)
