"""What a command imports before it answers: the heavy packages cost seconds, so help and mistakes
do without them.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "torch",
    "transformers",
    "open_clip",
    "datasets",
    "pandas",
    "matplotlib",
    "sklearn",
    "wandb",
    "numba",
)
SCRIPT = """
import runpy, sys
try:
    runpy.run_path("run.py", run_name="__main__")
except SystemExit as done:
    code = done.code
else:
    code = 0
print("imported:", *sorted({name.split(".")[0] for name in sys.modules}))
sys.exit(code)
"""


def imported(*words):
    """The packages among PACKAGES that a command has imported when it ends, and how it ends."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], cwd=ROOT, capture_output=True, text=True
    )
    last = done.stdout.splitlines()[-1]
    assert last.startswith("imported:"), done.stderr
    return set(last.split()) & set(PACKAGES), done


@pytest.mark.parametrize("words", [("--help",), ("--cfg", "job")])
def test_a_question_about_the_configuration_imports_nothing_heavy(words):
    found, done = imported(*words)
    assert done.returncode == 0
    assert found == set()


def test_a_value_out_of_range_is_refused_before_any_model_library_is_imported():
    found, done = imported("tadrop.q_lo=0.99")
    assert "q_lo is 0.99" in done.stderr
    assert found <= {"torch"}


def test_an_unknown_key_is_refused_without_torch():
    found, done = imported("tadrop.q_low=0.5")
    assert done.returncode != 0
    assert found == set()
