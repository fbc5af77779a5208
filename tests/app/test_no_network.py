"""Nothing asks a network that was not told to: importing, help, and a run on the suite
that comes with the package.
"""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
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

FETCH = """
import sys
from tadrop.app.terminal.entry import enter
enter()
import torch, transformers
from tadrop.errors import TadropError
from tadrop.storage import hub
try:
    hub.resolve("models", "org/name", None)
    sys.exit("a hub without models gave one")
except TadropError:
    pass
"""


@contextmanager
def hub_of_this_machine():
    """The address of a hub that has nothing, and a list of who asked it: User-Agents."""
    agents = []

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self):
            agents.append(self.headers.get("User-Agent", ""))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", agents
    finally:
        server.shutdown()
        server.server_close()


def fetched(folder, **variables):
    """Runs FETCH; returns how the hub's clients named themselves."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    here = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HOME": str(folder)}
    with hub_of_this_machine() as (address, agents):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FETCH],
            cwd=folder,
            env={**clean, **here, "HF_ENDPOINT": address, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return agents


SAID = pytest.param({"HF_HUB_DISABLE_TELEMETRY": "1"}, marks=pytest.mark.slow)


@pytest.mark.parametrize("variables", [{}, SAID])
def test_a_hub_that_is_asked_learns_no_versions(tmp_path, variables):
    agents = fetched(tmp_path, **variables)
    assert agents
    assert not [agent for agent in agents if "torch/" in agent]


def test_whoever_wants_telemetry_may_say_so(tmp_path):
    agents = fetched(tmp_path, HF_HUB_DISABLE_TELEMETRY="0")
    assert [agent for agent in agents if "torch/" in agent]


def test_offline_a_hub_is_not_asked_at_all(tmp_path):
    assert fetched(tmp_path, HF_HUB_OFFLINE="1") == []


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
