"""Which files of a folder the suite wrote, so that it never deletes others.

NOTE, a file in the folder, lists them with their sizes, and small ones with a sum of
their contents.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tadrop.errors import TadropError

NOTE = "tadrop.json"
FILES = "files"  # the list of files, in the note
SMALL = 1 << 20  # bytes up to which a file's contents are told


def list_files(folder: Path) -> None:
    """Adds the list of a folder's files to its note, where it has one."""
    note = folder / NOTE
    if not note.is_file():
        return
    content = json.loads(note.read_text(encoding="utf-8"))
    files: dict[str, Any] = {}
    for path in walked(folder):
        if path != note:
            files[path.relative_to(folder).as_posix()] = _facts(path)
    text = json.dumps(content | {FILES: files}, indent=1, ensure_ascii=False)
    note.write_text(text + "\n", encoding="utf-8")


def walked(folder: Path) -> Iterator[Path]:
    """Every file and link below a folder, in order; links are not followed.

    Raises OSError for a folder that cannot be read.
    """
    for parent, folders, files in os.walk(folder, onerror=_raised):
        folders.sort()
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted([*files, *links]):
            yield Path(parent) / name


def _raised(error: OSError) -> None:
    raise error


def _facts(path: Path) -> list[int | str]:
    """A file's size, and a sum of its contents where it is small."""
    size = path.lstat().st_size
    if size > SMALL or path.is_symlink():
        return [size]
    return [size, hashlib.sha256(path.read_bytes()).hexdigest()[:16]]


def check_ours(folder: Path) -> None:
    """Raises TadropError unless the suite wrote all files of a folder, as they are now.

    The error names the first that it did not write, or that was changed since.
    """
    files = _listed(folder)
    note = folder / NOTE
    for path in walked(folder):
        name = path.relative_to(folder).as_posix()
        if path == note:
            continue
        if name not in files:
            raise TadropError(
                f"{path}: this suite did not write it, and would delete it with "
                f"{folder}; move it away, or choose another export.dir"
            )
        if _facts(path) != files[name]:
            raise TadropError(
                f"{path}: was changed since this suite wrote it; move it away, or "
                "choose another export.dir"
            )


def _listed(folder: Path) -> Mapping[str, Any]:
    """The files that a folder's note lists. Raises TadropError where there is none."""
    note = folder / NOTE
    if not note.is_file():
        raise TadropError(
            f"{folder}: has no {NOTE}, so this suite did not write it "
            "and will not replace it"
        )
    try:
        files = json.loads(note.read_text(encoding="utf-8"))[FILES]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        files = None
    if not isinstance(files, dict):
        raise TadropError(
            f"{note}: does not list the files beside it, so nobody knows whose they "
            "are; move the folder away, or choose another export.dir"
        )
    return files


def delete_ours(folder: Path) -> list[Path]:
    """Deletes what the suite wrote below a folder, and the folder if nothing is left.

    Returns what is left: files that the suite did not write, or that were changed.
    """
    try:
        files = _listed(folder)
    except TadropError:
        files = {}
    kept: list[Path] = []
    note = folder / NOTE
    for path in walked(folder):
        name = path.relative_to(folder).as_posix()
        if path != note and name in files and _facts(path) == files[name]:
            path.unlink()
        elif path != note:
            kept.append(path)
    if not kept:
        note.unlink(missing_ok=True)
        remove_empty(folder)
    return kept


def remove_empty(folder: Path) -> None:
    """Removes a folder and those below it that hold nothing."""
    for parent, _, _ in os.walk(folder, topdown=False):
        if not any(Path(parent).iterdir()):
            Path(parent).rmdir()
