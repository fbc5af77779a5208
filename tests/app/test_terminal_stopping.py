"""Ctrl-C and SIGTERM: one line within a second, the exit code of a shell, nothing left."""

import os
import pty
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tadrop.app.terminal.stopping import LINE

ROOT = Path(__file__).parents[2]
LONGEST = 1  # seconds of the processor's between a signal and the end
PATIENCE = 3  # seconds by the clock: the same, and what a machine with other work adds
SIGNALS = (signal.SIGINT, signal.SIGTERM)
RUN = ("run.py", "tasks.names=[hebrew,braille]", "limit=40")

WRITER = """
import sys, threading, time
from pathlib import Path
from tadrop.app.terminal.stopping import stop_when_told
from tadrop.storage.files import write_atomically
from tadrop.storage.folders import staged

stop_when_told()
folder = Path(sys.argv[1])

def forever(path):
    path.write_text("half")
    print("writing", flush=True)
    time.sleep(60)

with staged(folder / "export", False) as export:
    (export / "part").write_text("half")
    write_atomically(folder / "record.json", forever)
"""

# A disk that is slow to delete the files with which a folder is tried.
PROBER = """
import sys, threading, time
from pathlib import Path
from tadrop.app.terminal.stopping import stop_when_told
from tadrop.storage.atomic import caching, guards

stop_when_told()
folder = Path(sys.argv[2])
removed = {"unlink": Path.unlink, "rmdir": Path.rmdir}

def slowly(path, how, **words):
    if threading.current_thread() is threading.main_thread():
        print("trying", flush=True)
        time.sleep(60)
    removed[how](path, **words)

if sys.argv[1] == "file":
    Path.unlink = lambda path, **words: slowly(path, "unlink", **words)
    caching.is_writable(folder)
else:
    Path.rmdir = lambda path: slowly(path, "rmdir")
    guards.check_place(folder / "out", False)
"""

# It would notice that what it writes is deleted, were it not halted.
NOTICER = """
import sys, time
from pathlib import Path
from tadrop.app.terminal.stopping import stop_when_told
from tadrop.storage import unfinished
from tadrop.storage.folders import staged

stop_when_told()
removed = unfinished.remove

def slowly(path):
    removed(path)
    time.sleep(0.5)

unfinished.remove = slowly
with staged(Path(sys.argv[1]) / "export", False) as export:
    print("writing", flush=True)
    while True:
        (export / "part").write_text("half")
"""


def started(*words, cwd=ROOT):
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stopped(process, number):
    """What a process says on standard error once it has the signal; it ends in time."""
    ended, spent = children(), seconds(process)
    process.send_signal(number)
    begin = time.monotonic()
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - begin < PATIENCE
    assert children() - ended - spent < LONGEST
    assert process.returncode == 128 + number
    return said


def children():
    """The processor's time that all processes took which this one started, and ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(process):
    """The processor's time that a running process has taken."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_being_written_is_taken_away(tmp_path, number):
    process = started("-c", WRITER, str(tmp_path))
    assert process.stdout.readline() == "writing\n"
    assert stopped(process, number) == LINE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_who_writes_does_not_complain_that_it_is_taken_away(tmp_path, number):
    process = started("-c", NOTICER, str(tmp_path))
    assert process.stdout.readline() == "writing\n"
    time.sleep(0.1)
    assert stopped(process, number) == LINE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_folder_is_tried_with_is_taken_away(tmp_path, kind):
    process = started("-c", PROBER, kind, str(tmp_path))
    assert process.stdout.readline() == "trying\n"
    assert stopped(process, signal.SIGTERM) == LINE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", [0.3, 0.6, 1.2, 2.0])
def test_a_command_that_starts_is_stopped_in_a_line(tmp_path, moment):
    process = started(*RUN, f"paths.results={tmp_path}", f"paths.cache={tmp_path}")
    time.sleep(moment)
    said = stopped(process, signal.SIGINT).splitlines(keepends=True)
    running = [line for line in said if not line.startswith("running ")]
    assert running == [LINE]


def test_a_child_process_is_stopped_as_usual():
    code = (
        "import os, signal\n"
        "from tadrop.app.terminal.stopping import stop_when_told\n"
        "stop_when_told()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    signal.pause()\n"
        "os.kill(child, signal.SIGTERM)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    said, errors = started("-c", code).communicate(timeout=20)
    assert said == f"{-signal.SIGTERM}\n", errors


def rest(terminal):
    """Everything that a process which has ended still wrote to its terminal."""
    shown = b""
    with suppress(OSError):  # EIO, where nobody writes any more
        while part := os.read(terminal, 1000):
            shown += part
    return shown.decode()


def test_ctrl_c_in_a_terminal_shows_the_cursor_again():
    code = (
        "import time\n"
        "from tadrop.app.terminal.stopping import stop_when_told\n"
        "stop_when_told()\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    child, terminal = pty.fork()
    if not child:
        os.environ |= {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
        os.execv(sys.executable, [sys.executable, "-c", code])
    shown = b""
    while b"ready" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    begin = time.monotonic()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert time.monotonic() - begin < PATIENCE
    last = rest(terminal)
    assert last.endswith("\x1b[?25h" + LINE.replace("\n", "\r\n"))
    assert "Traceback" not in last


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "words",
    [
        ("merge=emr",),
        ("-m", "merge=emr,ties", "tadrop=off,on"),
        ("merge=ties", "export.dir=OUT"),
    ],
    ids=["run", "sweep", "export"],
)
@pytest.mark.parametrize("moment", [0.0, 0.4, 1.0])
def test_whole_commands_leave_nothing_half_written(tmp_path, words, number, moment):
    spelled = [word.replace("OUT", f"{tmp_path}/out") for word in words]
    process = started(
        RUN[0],
        *spelled,
        *(RUN[1], "limit=200"),
        f"paths.results={tmp_path}/runs",
        f"paths.cache={tmp_path}/cache",
    )
    first = process.stderr.readline()
    assert first.startswith("running ")
    time.sleep(moment)
    if process.poll() is not None:
        pytest.skip("the command was faster")
    said = stopped(process, number).splitlines(keepends=True)
    assert said[-1] == LINE
    assert [line for line in said[:-1] if not line.startswith("running ")] == []
    hidden = [path for path in tmp_path.rglob(".*") if path.suffix != ".lock"]
    assert hidden == []
    assert not (tmp_path / "out").exists()
