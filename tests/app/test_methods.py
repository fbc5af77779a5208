"""`tadrop methods`: every row with its paper, at any width, and as Markdown."""

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

from tadrop.app.boards.catalogue import merge_rows
from tadrop.app.verbs import methods
from tadrop.errors import TadropError

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "tadrop", "methods")


def in_terminal(width, *words):
    """What the command shows in a terminal of so many columns."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment |= {"TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(
        [*COMMAND, *words], cwd=ROOT, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # EIO: the other side has closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode == 0, shown
    return re.sub(r"\x1b\[[0-9;]*m|\r", "", shown.decode())


@pytest.mark.parametrize("width", [40, 80, 100, 250])
def test_no_line_is_wider_than_the_terminal_and_every_row_is_there(width):
    lines = in_terminal(width).splitlines()
    assert max(map(len, lines)) <= width
    starts = {line.split(" ")[0] for line in lines}
    assert merge_rows().keys() <= starts
    assert "2306.01708" in "".join(lines)


def test_words_choose_rows():
    assert [row.name for row in methods.chosen(["2410.02396", "emr"])] == [
        "emr",
        "emr_code",
        "pcb",
        "pcb_es",
        "pcb_nlp",
        "pcb_paper",
        "pcb_root",
    ]
    with pytest.raises(
        TadropError, match=r"^no row has 'tiies'; tadrop methods lists all$"
    ):
        methods.chosen(["tiies"])


def test_markdown_has_a_line_a_row_with_paper_and_data():
    rows = methods.chosen([])
    head, rule, *lines = methods.markdown(rows).splitlines()
    assert head == "| merge= | what it is | paper | sees | a run takes |"
    assert rule.count("|") == head.count("|")
    assert len(lines) == len(merge_rows())
    (fisher,) = [line for line in lines if line.startswith("| `fisher` |")]
    assert fisher.endswith("| 2111.09832 | training inputs | seconds |")
    assert {line.count("|") for line in lines} == {head.count("|")}


def test_a_pipe_gets_a_line_a_row():
    done = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == list(merge_rows())
