"""Where may be written: said before anything is computed."""

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tadrop.errors import TadropError
from tadrop.storage.atomic.contents import check_ours
from tadrop.storage.atomic.hidden import NEW, new_folder

RESERVE = 1 << 20  # bytes that are left free on a disk


def check_place(out: Path, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Raises TadropError unless a folder may be written at `out`, or replaced there.

    inputs: files and folders that are read, which it must not touch
    """
    if out.name in ("", ".."):
        raise TadropError(
            f"{out}: give the name of the folder to write, export.dir=OUT"
        )
    if _is_link(out):
        raise TadropError(
            f"{out}: is a symbolic link; give the folder that it leads to, "
            f"{os.readlink(out)}"
        )
    _check_apart(out, inputs)
    try:
        taken = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    except OSError as error:
        raise _cannot(out, error) from error
    if taken:
        if not overwrite:
            raise TadropError(
                f"{out}: is already there; choose another export.dir or add "
                "overwrite=true"
            )
        check_ours(out)
    _check_writable(out)


def _is_link(out: Path) -> bool:
    try:
        return out.is_symlink()
    except OSError as error:
        raise _cannot(out, error) from error


def _check_apart(out: Path, inputs: Iterable[Path]) -> None:
    """Raises TadropError where `out` is an input, holds one or lies in one."""
    whole = Path(os.path.realpath(out))
    for path in inputs:
        given = Path(os.path.realpath(path))
        relation = ""
        if _same(whole, given):
            relation = "is"
        elif any(_same(whole, parent) for parent in given.parents):
            relation = "contains"
        elif given.is_dir() and any(_same(given, parent) for parent in whole.parents):
            relation = "lies in"
        if relation:
            raise TadropError(
                f"{out}: {relation} {path}, which is read for this merge; "
                "choose another export.dir"
            )


def _same(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same place, whatever they are called."""
    if one == other:
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _check_writable(out: Path) -> None:
    """Raises TadropError where no folder can be made at `out`; leaves nothing there."""
    try:
        # A name that no disk takes is told of here.
        with suppress(FileNotFoundError):
            os.lstat(out)
        missing = [path for path in out.absolute().parents if not path.exists()]
        if missing:
            missing[-1].mkdir()
            missing[-1].rmdir()
            return
        with new_folder(out, NEW) as probe:
            probe.rmdir()
    except OSError as error:
        raise _cannot(out, error) from error


def _cannot(out: Path, error: OSError) -> TadropError:
    shown = str(out) if len(str(out)) < 300 else f"{str(out)[:99]}..."
    reason = error.strerror or type(error).__name__
    return TadropError(
        f"{shown}: cannot be written ({reason}); choose another export.dir"
    )


def check_room(folder: Path, needed: int) -> None:
    """Raises TadropError where a folder's disk has no room for so many bytes more."""
    free = shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise TadropError(
            f"{folder}: {needed / 1e9:.2f} GB are to be written and "
            f"{free / 1e9:.2f} GB are free; make room, or choose another export.dir"
        )
