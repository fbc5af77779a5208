"""Faults before every system call that changes or looks at files.

`counted()` counts the calls of a block; `injected(number, fault)` lets a fault happen in
place of the call of that number, and of those after it where `lasting`.
"""

import errno
import os
import signal
from contextlib import contextmanager

CALLS = (
    *("mkdir", "rename", "replace", "unlink", "remove", "rmdir", "open", "close"),
    *("write", "pwrite", "truncate", "scandir", "listdir", "lstat", "stat", "chmod"),
)


def disk_error():
    raise OSError(errno.EIO, "Input/output error")


def disk_full():
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted():
    raise KeyboardInterrupt


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def concerns(words, below):
    """Whether a call is about an open file, or about a path below a folder."""
    if below is None or not words or isinstance(words[0], int):
        return True
    return os.fspath(words[0]).startswith(os.fspath(below))


@contextmanager
def injected(number, fault, lasting=False, below=None):
    """Yields a list that has one entry for every call that was made.

    below: only calls about open files and about what lies below this folder count
    """
    real = {name: getattr(os, name) for name in CALLS}
    made = []

    def wrapped(name):
        def call(*words, **named):
            if not concerns(words, below):
                return real[name](*words, **named)
            made.append(name)
            count = len(made)
            # Files are closed whatever happens, as the system closes them too.
            due = count == number or (lasting and count > number)
            if due and name != "close":
                fault()
            return real[name](*words, **named)

        return call

    for name in CALLS:
        setattr(os, name, wrapped(name))
    try:
        yield made
    finally:
        for name in CALLS:
            setattr(os, name, real[name])


def counted(block, below=None):
    """How many calls a function makes."""
    with injected(0, disk_error, below=below) as made:
        block()
    return len(made)
