"""What every command does before anything else."""

import io
import sys

from tadrop.app.terminal.stopping import stop_when_told


def enter() -> None:
    """From now on Ctrl-C works, and no character of a name can stop a line."""
    stop_when_told()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
