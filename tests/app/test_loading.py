"""A first command on a terminal shows a sign of life before the libraries are loaded."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from tadrop.app.terminal import loading

ROOT = Path(__file__).parents[2]


def said(monkeypatch, terminal, library):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    monkeypatch.setattr(loading, "err", console)
    monkeypatch.setattr(loading, "HEAVY", library)
    with loading.loading():
        pass
    return file.getvalue()


def test_only_on_a_terminal_and_only_where_it_takes_long(monkeypatch):
    assert "loading the libraries" in said(monkeypatch, True, "not_loaded")
    assert said(monkeypatch, False, "not_loaded") == ""
    assert said(monkeypatch, True, "pytest") == ""


def seconds(process):
    """The processor's time that a running process has taken."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_terminal_has_a_sign_of_life_within_two_seconds(tmp_path):
    """Of the processor's time, since others may use the machine, too."""
    words = ("limit=8", f"paths.results={tmp_path}", f"paths.cache={tmp_path}")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "run.py", "merge=average", *words],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm"},
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    try:
        while b"loading" not in shown:
            shown += os.read(leader, 4096)
        assert seconds(process) < 2
    finally:
        process.kill()
        process.wait()
        os.close(leader)
