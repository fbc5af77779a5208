"""A first command on a terminal shows a sign of life before the libraries are loaded."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tadrop.app.terminal import loading

ROOT = Path(__file__).parents[2]
SIGN = b"loading the libraries"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def said(monkeypatch, terminal, library):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    monkeypatch.setattr(loading, "err", console)
    monkeypatch.setattr(loading, "HEAVY", library)
    with loading.loading():
        pass
    return file.getvalue()


def test_only_on_a_terminal_and_only_where_it_takes_long(monkeypatch):
    assert SIGN.decode() in said(monkeypatch, True, "not_loaded")
    assert said(monkeypatch, False, "not_loaded") == ""
    assert said(monkeypatch, True, "pytest") == ""


def test_it_leaves_a_line_of_its_own(monkeypatch):
    """What follows does not stand behind it, also where somebody keeps what was sent."""
    shown = ESCAPES.sub("", said(monkeypatch, True, "not_loaded")).replace("\r", "")
    signs = [line for line in shown.split("\n") if line]
    assert signs
    assert all(line.endswith(SIGN.decode()) for line in signs)


def seconds(process):
    """The processor's time that a running process has taken."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def shown_until(terminal, sign):
    """What a terminal shows up to a sign; all of it where the sign never comes."""
    shown = b""
    while sign not in shown:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux says so where the other end is closed
            break
        if not part:
            break
        shown += part
    return shown


@pytest.mark.parametrize(
    "words", [("merge=average",), ("-m", "merge=average,ties")], ids=["run", "sweep"]
)
def test_a_terminal_has_a_sign_of_life_within_two_seconds(tmp_path, words):
    """Of the processor's time, since others may use the machine, too."""
    places = (f"paths.results={tmp_path}", f"paths.cache={tmp_path}")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "run.py", *words, "limit=8", *places],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm"},
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    try:
        shown = shown_until(leader, SIGN)
        spent = seconds(process)
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    assert SIGN in shown, shown.decode(errors="replace")
    assert spent < 2
