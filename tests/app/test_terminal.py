"""What people see: tables in a real terminal of many widths, in a pipe, and without
colours.
"""

import json
import os
import pty
import re
import struct
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest

from tadrop.app.terminal.sweeps import varied_keys, varied_words
from tests import synthetic

ROOT = Path(__file__).parents[2]
WIDTHS = (10, 40, 44, 80, 100, 120, 152, 250)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
TASKS = "[hebrew,braille,arabic,math,latin_upper,greek_lower]"
CLEAN = {"NO_COLOR": "", "COLUMNS": "", "LINES": "", "TERM": "xterm"}

# Prints everything that there is to see at each width, which it gives its own terminal.
PRINT = """
import fcntl, struct, sys, termios
from pathlib import Path
from tadrop.app import showing
from tadrop.app.console import stages
from tadrop.results import record, table
folder, *widths = sys.argv[1:]
folder = Path(folder)
records = record.read_all(folder)
for width in map(int, widths):
    if sys.stdout.isatty():
        size = struct.pack("HHHH", 40, width, 0, 0)
        fcntl.ioctl(1, termios.TIOCSWINSZ, size)
    print(f"== {width}", flush=True)
    showing.print_table(table.build(records))
    showing.show(records[:5], folder, ran=False)
    showing.show(records[:5], folder, brief=True)
    showing.print_table(table.build(records[:1]))
    with stages("a run with a name that is longer than terminals are wide") as bars:
        step = bars.bar("evaluate", 3)
        step()
"""


def shown(width, *words, **environment):
    """What a command shows in a terminal so many columns wide, and its exit code."""
    child, terminal = pty.fork()
    if not child:
        ioctl(0, TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        os.chdir(ROOT)
        variables = os.environ | CLEAN | {"PYTHONPATH": str(ROOT)} | environment
        present = {name: value for name, value in variables.items() if value}
        os.execve(sys.executable, [sys.executable, *words], present)
    parts = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return b"".join(parts).decode(), code


def lines_of(text):
    """The lines that were sent: a bar that is drawn anew begins in a line of its own."""
    return ESCAPES.sub("", text).replace("\r", "").split("\n")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    keys = synthetic.fill(folder, "demo", [f"tasks.names={TASKS}"], count=50, skip=3)
    assert len(keys) > 10
    return folder


@pytest.fixture(scope="module")
def screens(records):
    """What was shown at each width."""
    text, code = shown(80, "-c", PRINT, str(records), *map(str, WIDTHS))
    assert code == 0, text
    assert "Traceback" not in text
    return by_width(text)


def by_width(text):
    """The screens of PRINT by width."""
    _, *parts = text.split("== ")
    screens = {}
    for part in parts:
        width, _, screen = part.partition("\r\n")
        screens[int(width)] = screen
    return screens


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_terminal(screens, width):
    wide = [line for line in lines_of(screens[width]) if len(line) > width]
    assert wide == []


@pytest.mark.parametrize("width", WIDTHS[1:])
def test_averages_and_differences_stay(screens, width):
    screen = ESCAPES.sub("", screens[width])
    for heading in ("method", "avg", "diff", "uniform"):
        assert heading in screen
    assert re.search(r"[+-]\d+\.\d", screen)


def test_tasks_give_way(screens):
    narrow, medium, wide = (ESCAPES.sub("", screens[width]) for width in (40, 80, 250))
    assert "6 task columns are left out" in narrow
    assert "left out" not in medium
    assert re.search(r"method +hebrew +braille .* lambda", wide)


def test_a_pipe_gets_the_whole_table_without_escape_codes(records):
    done = subprocess.run(
        [sys.executable, "-c", PRINT, str(records), "40"],
        cwd=ROOT,
        env=os.environ | {"LANG": "C", "COLUMNS": "40"},
        capture_output=True,
        check=True,
    )
    text = done.stdout.decode()
    assert "\x1b" not in text
    assert re.search(r"method +hebrew +braille .* lambda", text)
    assert str(records) in text


@pytest.mark.parametrize(
    "environment",
    [{"NO_COLOR": "1", "LANG": "C", "LC_ALL": "C"}, {"TERM": "dumb"}],
    ids=["NO_COLOR", "TERM=dumb"],
)
def test_a_terminal_that_can_do_less(records, environment):
    text, code = shown(44, "-c", PRINT, str(records), "44", **environment)
    assert code == 0, text
    assert max(map(len, lines_of(text))) <= 44
    assert re.findall(r"\x1b\[[\d;]*3[12]m", text) == []
    if "TERM" in environment:
        assert "\x1b" not in text


def test_a_sweep_names_what_its_jobs_set_differently():
    words = ["merge=ties,emr", "tadrop.q_lo=0.3,0.5", "seed=range(0,3)", "limit=50"]
    keys = varied_keys(words)
    assert keys == ("tadrop.q_lo", "seed")
    job = ["merge=ties", "tadrop.q_lo=0.5", "seed=1", "limit=50"]
    assert varied_words(job, keys) == ("q_lo=0.5", "seed=1")


@pytest.mark.slow
def test_a_run_at_80_columns(tmp_path):
    words = ("run.py", "limit=40", "merge=average", f"paths.results={tmp_path}")
    text, code = shown(80, *words, f"paths.cache={tmp_path}/cache")
    assert code == 0, text
    assert max(map(len, lines_of(text))) <= 80
    assert len(list((tmp_path / "records").glob("*.json"))) == 3
    again, code = shown(80, *words)
    assert code == 0
    assert "nothing was run" in again
    assert json.loads(next((tmp_path / "records").glob("*.json")).read_text())
