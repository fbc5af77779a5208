"""What a user gets wrong ends a script with one line that names it, and says no more."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments import benchmark_evaluate
from tadrop.app.mistakes import mistake, told_in_one_line
from tadrop.app.verbs import finetune, similarity, tune, vqa_answers
from tadrop.app.verbs.boards import leaderboard
from tadrop.app.verbs.boards import table as tables
from tadrop.types import TadropError

ROOT = Path(__file__).parents[2]
MISTAKES = [
    (
        leaderboard,
        ["nonsense"],
        "Could not find 'tasks/nonsense' Available options in 'tasks': .* vision8$",
    ),
    (
        leaderboard,
        ["glyph8", "--only", "ties,nonsense"],
        "no row is called nonsense; there are adamerging, ",
    ),
    (
        tables,
        ["demo", "nonsense"],
        "Error parsing override 'nonsense' missing EQUAL at '<EOF>'$",
    ),
    (tables, ["nonsense"], "no board is called 'nonsense'; there are "),
    (
        similarity,
        ["tasks.names=[nonsense]"],
        "no glyph task is called 'nonsense'; there are ",
    ),
    (
        similarity,
        ["tasks.nonsense=1"],
        "tasks.nonsense=1: no setting is called tasks.nonsense; tasks has tasks.names, ",
    ),
    (benchmark_evaluate, ["model=nonsense"], "Could not find 'model/nonsense'"),
    (vqa_answers, ["out.json", "tasks.names=[imagenet]"], "tasks.names has no vqa"),
    (tune, ["study", "merge=ties"], "nothing to search"),
]


@pytest.mark.parametrize(
    ("script", "words", "said"),
    MISTAKES,
    ids=lambda part: getattr(part, "__name__", None),
)
def test_a_mistake_is_one_line(monkeypatch, script, words, said):
    monkeypatch.setattr(sys, "argv", [script.__name__, *words])
    with pytest.raises(SystemExit, match=f"^error: (In 'config': )?{said}") as info:
        script.main()
    assert "\n" not in info.value.code


FINETUNE = ["recipe=small", "paths.hub=/nowhere"]


def test_finetuning_a_task_that_is_not_there_is_one_line():
    """A program of Hydra's own."""
    words = ["-m", "tadrop.app.verbs.finetune", *FINETUNE, "task=nonsense"]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "no task is called 'nonsense'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_any_task_of_the_registry_can_be_fine_tuned_not_those_of_the_default_set_alone(
    monkeypatch,
):
    monkeypatch.setattr(sys, "argv", ["finetune", *FINETUNE, "task=kmnist"])
    with pytest.raises(SystemExit, match=r"^error: .*/nowhere") as info:
        finetune.main()
    assert "\n" not in info.value.code


def test_a_mistake_is_found_wherever_it_is_wrapped():
    ours, other = TadropError("ours"), ValueError("other")
    other.__cause__ = ours
    assert mistake(ours) is mistake(other) is ours
    assert mistake(ValueError("other")) is None
    assert mistake(None) is None


def test_what_is_no_mistake_of_the_users_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), told_in_one_line():
        _ = 1 / 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["limt=50"], "limt=50: no setting is called limt; did you mean limit?"),
        (
            ["-m", "limit=10,x"],
            "limit=x: limit is a whole number of at least 1, or null",
        ),
        (
            ["model=local", "merge=ties"],
            "model=local: model.base and model.experts must",
        ),
        (["+board=dem"], "board=dem: "),
    ],
)
def test_a_run_tells_a_wrong_word_and_imports_nothing_for_it(words, said):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "run.py", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    lines = [
        line for line in done.stderr.splitlines() if not line.startswith("import time")
    ]
    assert done.returncode == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {said}")
    assert "| torch" not in done.stderr
