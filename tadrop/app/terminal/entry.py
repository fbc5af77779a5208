"""What every command does before anything else."""

import io
import os
import signal
import sys


def enter() -> None:
    """From now on Ctrl-C works, and no character of a name can stop a line.

    The hub's library is told not to name this machine's versions with what it asks for,
    unless somebody said that it should.
    """
    # Until the line below can be said, which takes imports: an end without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from tadrop.app.terminal.stopping import stop_when_told

    stop_when_told()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
