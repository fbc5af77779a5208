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
path, *sys.argv[1:] = sys.argv[1:]
try:
    if path == "run.py":
        runpy.run_path(path, run_name="__main__")
    else:
        runpy.run_module(path, run_name="__main__")
except SystemExit as done:
    code = done.code
else:
    code = 0
print("imported:", *sorted({name.split(".")[0] for name in sys.modules}))
sys.exit(code)
"""


def imported(*words, path="run.py"):
    """The packages among PACKAGES that a command has imported when it ends, and how it ends.

    path: the script of the command, or the module
    """
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, path, *words],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
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


HERE = ("tests", "docs")  # two folders that are there; nobody opens them


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("merge", "--help"), 0, ""),
        (("merge", "--list"), 0, ""),
        (("compare", "--help"), 0, ""),
        (("tune-merge", "--help"), 0, ""),
        (("unpack", "--help"), 0, ""),
        (("merge", *HERE, "-m", "tiess"), 1, "--method tiess: there is no such method"),
        (("merge", *HERE, "-m", "fisher"), 1, "--method fisher looks at data"),
        (("merge", *HERE, "-m", "slerp"), 1, "--method slerp merges 2 models, and "),
        (("merge", *HERE, "--set", "kep=1"), 1, "kep=1: no setting is called kep"),
        (("merge", *HERE, "--weight", "1,2"), 1, "--weight 1,2: 2 values for 1 expert"),
        (("merge", *HERE, "--rules", "no.yaml"), 1, "no.yaml: there is no such file"),
        (("merge", "--recipe", "no.yaml"), 1, "no.yaml: there is no such recipe"),
        (("merge", "tests", "no"), 1, "no: there is no such file or folder"),
        (("merge", *HERE, "--push", "x"), 1, "--push x: a repository is ORG/NAME"),
        (("merge", *HERE, "--weigt", "1"), 2, "unrecognized arguments: --weigt 1"),
        (("compare", "no", "tests", "--data", "x"), 1, "no: there is no such folder"),
        (("compare", *HERE, "--data", "no.txt"), 1, "no.txt: no such text file, or "),
        (
            ("tune-merge", *HERE, "--data", "no.txt"),
            1,
            "no.txt: no such text file, or ",
        ),
        (
            ("tune-merge", "no", "tests", "--data", "docs"),
            1,
            "no: there is no such file",
        ),
    ],
)
def test_verbs_of_checkpoints_refuse_words_without_torch(words, code, told):
    out = ("-o", "nowhere") if words[0] in ("merge", "tune-merge") else ()
    found, done = imported(*words, *out, path="tadrop")
    assert (done.returncode, found) == (code, set())
    assert told in done.stderr
