"""Folders that are there whole or not at all, whatever happens while they are written.

A folder of the suite holds NOTE, a file that says how it was made. One without it is
never replaced.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tadrop.errors import TadropError
from tadrop.storage.unfinished import unfinished

NOTE = "tadrop.json"


@contextmanager
def staged(out: Path, overwrite: bool) -> Iterator[Path]:
    """A hidden folder beside `out` that becomes `out` when the block ends well.

    It vanishes if the block fails. overwrite: a folder that the suite wrote is
    replaced. Raises TadropError if `out` is taken or the disk refuses.
    """
    _refuse_taken(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        with unfinished(staging):
            staging.chmod(0o755)
            yield staging
            put(staging, out)
    except OSError as error:
        reason = error.strerror or error
        raise TadropError(
            f"{out}: could not be written ({reason}); nothing of it was left behind"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def put(staging: Path, out: Path) -> None:
    """Gives a folder its name; a folder that has the name is moved away, then deleted.

    At no moment is there a part of either folder under that name.
    """
    if not out.exists():
        staging.rename(out)
        return
    former = staging.with_name(f"{staging.name}.former")
    out.rename(former)
    staging.rename(out)
    with unfinished(former):
        shutil.rmtree(former)


def _refuse_taken(out: Path, overwrite: bool) -> None:
    """Raises TadropError unless `out` is free, or may be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise TadropError(
            f"{out}: is already there; choose another export.dir or add overwrite=true"
        )
    if not (out / NOTE).is_file():
        raise TadropError(
            f"{out}: has no {NOTE}, so this suite did not write it "
            "and will not replace it"
        )
