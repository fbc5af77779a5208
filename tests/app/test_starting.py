"""What is said before anything is run: Ctrl-C at the start, extras that are missing."""

import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.utils import instantiate

from tadrop.app.boards.composing import configured
from tadrop.app.trackers import telling

ROOT = Path(__file__).parents[2]
LAUNCHERS = {"joblib": "joblib", "ray": "ray", "slurm": "submitit"}
# Runs a command to whose process somebody says Ctrl-C when it imports a module.
STOPPED = """
import builtins, os, runpy, signal, sys
module, path = sys.argv[1:3]
sys.argv = [path, *sys.argv[3:]]
usual = builtins.__import__

def stopping(name, *words, **named):
    if name == module:
        builtins.__import__ = usual
        os.kill(os.getpid(), signal.SIGINT)
    return usual(name, *words, **named)

sys.modules.pop(module, None)
builtins.__import__ = stopping
runpy.run_path(path, run_name="__main__")
"""


@pytest.mark.parametrize(
    "module",
    [
        "tadrop.app.terminal.stopping",
        "socket",
        "threading",
        "tadrop.storage.unfinished",
        "tadrop.app.main",
        "hydra",
    ],
)
def test_ctrl_c_among_the_first_imports_shows_no_traceback(module):
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, module, "run.py", "--help"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode in (-signal.SIGINT, 130)
    assert "tadrop: merge fine-tuned models" not in done.stdout


def test_importing_the_package_imports_nothing_more():
    code = "import sys; there = {*sys.modules}; import tadrop; "
    code += "print({*sys.modules} - there)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "{'tadrop'}"


@pytest.mark.parametrize(("name", "module"), LAUNCHERS.items())
def test_a_launcher_without_its_extra_says_how_to_install_it(name, module):
    plugin = f"hydra_plugins.hydra_{module}_launcher"
    if find_spec("hydra_plugins") and find_spec(plugin):
        pytest.skip(f"{name} is installed")
    done = subprocess.run(
        [sys.executable, "run.py", "-m", "merge=ties", f"hydra/launcher={name}"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    line = f"error: hydra/launcher={name} is an extra: pip install -e '.[{name}]'\n"
    assert (done.returncode, done.stderr) == (1, line)


def node(name, folder):
    return configured([f"tracker={name}", f"tracker.folder={folder}"]).tracker


@pytest.mark.parametrize("name", ["mlflow", "tensorboard", "trackio"])
def test_a_tracker_without_its_library_is_told_once_and_before(
    name, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr("tadrop.app.trackers.entry.find_spec", lambda module: None)
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(telling, "_warned", set())
    assert telling.forewarn(node(name, tmp_path))
    line = f"tracker: {name} is not installed: pip install -e '.[{name}]'; runs go on, "
    assert capsys.readouterr().err.startswith(line)
    assert not telling.tell_of(node(name, tmp_path), lambda: pytest.fail("was made"))
    assert capsys.readouterr().err == ""


def test_a_run_says_it_before_anything_is_read(monkeypatch, tmp_path, capsys):
    from tadrop.app.runs import run

    def stopped(*words):
        raise InterruptedError(capsys.readouterr().err)

    monkeypatch.setattr("tadrop.app.trackers.entry.find_spec", lambda module: None)
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    monkeypatch.setattr(telling, "_warned", set())
    monkeypatch.setattr(run, "prepare", stopped)
    cfg = configured(["tracker=trackio", f"paths.cache={tmp_path}"])
    with pytest.raises(InterruptedError, match="trackio is not installed"):
        run.measure(cfg, run.resolved(cfg), tmp_path)


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard", "trackio"])
def test_a_tracker_with_its_library_is_not_warned_of(name, monkeypatch):
    monkeypatch.setattr("tadrop.app.trackers.entry.find_spec", lambda module: object())
    instantiate(configured([f"tracker={name}"]).tracker).check()
