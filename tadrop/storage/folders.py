"""Folders that are there whole or not at all, whatever happens while they are written.

A folder of the suite holds NOTE, a file that says how it was made and lists the files
beside it. One without it is never replaced, and no file that it does not list is ever
deleted.

A folder is written under a hidden name beside its own. One that it replaces is moved
aside, the new one takes its name, and then the old one is deleted. Whoever is killed in
between is followed by a next start, which puts back what was moved aside, or deletes
what is left, before it does anything else.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tadrop.errors import TadropError
from tadrop.storage.atomic import contents, hidden
from tadrop.storage.atomic.contents import NOTE as NOTE
from tadrop.storage.atomic.guards import check_place
from tadrop.storage.atomic.hidden import NEW, OLD


def check(out: Path, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Raises TadropError unless `out` may be written; puts right what was interrupted.

    inputs: files and folders that are read, which it must not touch
    """
    recover(out)
    check_place(out, overwrite, inputs)


def recover(out: Path) -> None:
    """Puts right what a killed writer of `out` left: the old folder,
    or nothing of it.
    """
    with suppress(OSError):
        if out.is_symlink():
            return
        for aside in hidden.left(out, OLD):
            with hidden.abandoned(aside) as dead:
                if dead and not out.exists():
                    aside.rename(out)
                elif dead:
                    _clear(aside, out)
        hidden.sweep(out, NEW)


@contextmanager
def staged(out: Path, overwrite: bool, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """A hidden folder beside `out` that becomes `out` when the block ends well.

    It vanishes if the block fails. overwrite: a folder that the suite wrote is
    replaced. inputs: see check. Raises TadropError if `out` is taken or the disk
    refuses.
    """
    check(out, overwrite, inputs)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with building(out) as staging:
            yield staging
            contents.list_files(staging)
            if overwrite and out.exists() and any(out.iterdir()):
                contents.check_ours(out)
            put(staging, out)
    except OSError as error:
        reason = error.strerror or error
        raise TadropError(
            f"{out}: could not be written ({reason}); nothing of it was left behind"
        ) from error


@contextmanager
def building(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out`,
    which is deleted if it still is there in the end.
    """
    hidden.sweep(out, NEW)
    with hidden.new_folder(out, NEW) as staging:
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def put(staging: Path, out: Path) -> None:
    """Gives a folder its name; a folder that has the name is moved aside, then deleted.

    At no moment is there a part of either folder under that name.
    """
    if not out.exists() or not any(out.iterdir()):
        staging.rename(out)
        return
    aside = out.with_name(hidden.hidden_name(out, OLD) + secrets.token_hex(4))
    with hidden.held(out):
        try:
            out.rename(aside)
            staging.rename(out)
        except BaseException:
            if aside.exists() and not out.exists():
                aside.rename(out)
            raise
        # What cannot be deleted now the next writer deletes.
        with suppress(OSError):
            _clear(aside, out)


def _clear(aside: Path, out: Path) -> None:
    """Deletes a folder that was replaced.

    Files in it that the suite did not write are moved into the new folder; where it has
    others of their names they stay, in a folder that is not hidden.
    """
    for path in contents.delete_ours(aside):
        target = out / path.relative_to(aside)
        if not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    if aside.exists() and contents.delete_ours(aside):
        number = aside.name.rpartition(".")[2]
        aside.rename(out.with_name(f"{out.name}.former-{number}"))
