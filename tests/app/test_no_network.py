"""Nothing asks a network that was not told to: importing, help, and a run on the suite
that comes with the package.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WATCH = """
import socket, sys
asked = []

def refused(*words, **named):
    asked.append(str(words[:2]))
    raise OSError("no network here")

for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, name, refused)
socket.socket.connect = refused
socket.socket.connect_ex = refused
"""
IMPORTS = """
import importlib, pkgutil
import tadrop
for module in pkgutil.walk_packages(tadrop.__path__, "tadrop."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert asked == [], asked
"""
OFFLINE = """
from tadrop.storage import hub
assert hub.unreachable() == "HF_HUB_OFFLINE is set"
assert asked == [], asked
"""
ONLINE = """
from tadrop.storage import hub
assert "no network here" in hub.unreachable()
assert len(asked) > 0
"""
RUN = """
from tadrop.app.command import main
main(["run", "tasks.names=[hebrew,braille]", "limit=20", "merge=average", "tadrop=off"])
assert asked == [], asked
"""


def watched(folder, script, **variables):
    """Runs a script in which every connection is refused and noted."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WATCH + script],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr


def test_importing_everything_asks_no_network(tmp_path):
    watched(tmp_path, IMPORTS)


def test_offline_means_that_nobody_is_asked(tmp_path):
    watched(tmp_path, OFFLINE, HF_HUB_OFFLINE="1")


def test_the_watch_sees_who_asks(tmp_path):
    watched(tmp_path, ONLINE)


@pytest.mark.slow
def test_a_run_on_the_embedded_suite_asks_no_network(tmp_path):
    watched(tmp_path, RUN)
