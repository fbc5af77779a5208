"""Commands as the user can type them here."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def short(path: Path) -> Path:
    """A path as people write it here: relative where it lies in the current folder."""
    current = Path(os.path.abspath(""))
    whole = Path(os.path.abspath(path))
    return whole.relative_to(current) if whole.is_relative_to(current) else path


def typed(*words: str) -> str:
    """The command `tadrop WORDS`; by its Python where the shell does not find it."""
    if shutil.which("tadrop"):
        return shlex.join(["tadrop", *words])
    python = short(Path(sys.executable))
    return shlex.join([str(python), "-m", "tadrop", *words])
