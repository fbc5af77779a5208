"""What happens at Ctrl-C and when the system ends a command.

One line, at once, and no traceback: a thread of its own waits for the signal, so that
nothing which the program is doing, such as a long product of matrices, keeps it. What
is being written is taken away. The exit code is 130 after Ctrl-C and 143 after SIGTERM,
as a shell expects.
"""

import os
import signal
import socket
import sys
import threading
from types import FrameType

from tadrop.storage.unfinished import halt, remove_unfinished

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LINE = "stopped: what was finished is kept, and the same command goes on from there\n"
WHOLE = "stopped: what it writes is there whole or not at all; nothing else is kept\n"
_said = [LINE]
# Erases the bar that stands in the line, and shows the cursor, which bars hide.
TIDY = "\r\x1b[2K\x1b[?25h"


def stop_when_told() -> None:
    """From now on signals end this process as described above."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watch = threading.Thread(target=_watch, args=(reader,), daemon=True)
    watch.start()
    for number in SIGNALS:
        signal.signal(number, _leave_to_watch)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    if sys.platform != "win32":
        os.register_at_fork(
            before=_hold, after_in_parent=_release, after_in_child=_as_usual
        )


def nothing_goes_on() -> None:
    """From now on the line says that the same command would begin anew."""
    _said.append(WHOLE)


def _leave_to_watch(number: int, frame: FrameType | None) -> None:
    """Waits: Python tells the other thread, which ends the process."""
    halt()


def _hold() -> None:
    """While a process divides signals wait, so that each half gets its own."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _as_usual() -> None:
    """In a child process, which has no such thread, signals do what they always do."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()


def _watch(reader: socket.socket) -> None:
    """Waits for one of the signals and ends the process."""
    while True:
        for number in reader.recv(1):
            if number in SIGNALS:
                _stop(number)


def _stop(number: int) -> None:
    remove_unfinished()
    # Not sys.stderr: the thread that is interrupted may hold its lock.
    line = TIDY + _said[-1] if _is_terminal() else _said[-1]
    os.write(2, line.encode())
    os._exit(128 + number)


def _is_terminal() -> bool:
    """Whether somebody looks at standard error in a terminal that can erase a line."""
    dumb = os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")
    return os.isatty(2) and not dumb
