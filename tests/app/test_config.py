"""Every YAML composes and every node instantiates."""

import itertools
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from tadrop.app.boards.board import Board
from tadrop.app.boards.composing import configured
from tadrop.app.runs import build
from tadrop.merging.method import Method

CONF = Path(__file__).parents[2] / "conf"


def choices(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.mark.parametrize("name", choices("merge"))
@pytest.mark.parametrize("tadrop", ["on", "off", "uniform"])
def test_merge_rows(name, tadrop):
    """Hydra composes each row once, and `configured` crosses it with TADrop's choices."""
    cfg = configured([f"merge={name}", f"tadrop={tadrop}"])
    assert cfg.merge.name == name
    assert cfg.merge.title
    build.rule(cfg.sparsify)
    rule = build.rule(cfg.tadrop)
    assert (rule is None) == (tadrop == "off")
    method = instantiate(cfg.merge.method)
    assert callable(
        getattr(method, "merge", None) or getattr(method, "fit", None)
    ) or isinstance(method, Method)


@pytest.mark.parametrize("name", choices("sparsify"))
def test_sparsifiers(name):
    rule = build.rule(composed(f"sparsify={name}", "merge=task_arithmetic").sparsify)
    assert (rule is None) == (name == "none")


@pytest.mark.parametrize("name", choices("tasks"))
def test_task_sets(name):
    names = composed(f"tasks={name}").tasks.names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", choices("model"))
def test_models(name):
    cfg = composed(f"model={name}")
    assert cfg.model._target_.startswith("tadrop.")


@pytest.mark.parametrize("name", choices("board"))
def test_boards(name):
    assert Board(name).overrides


def test_glyph_task_sets_contain_one_another():
    sets = [list(composed(f"tasks=glyph{n}").tasks.names) for n in (8, 14, 20, 30)]
    assert [len(s) for s in sets] == [8, 14, 20, 30]
    assert all(
        larger[: len(smaller)] == smaller
        for smaller, larger in itertools.pairwise(sets)
    )


def test_the_command_line_wins_over_a_rows_own_sparsifier():
    assert composed("merge=ties").sparsify.scope == "model"
    assert (
        composed(
            "merge=ties", "sparsify.scope=tensor", "sparsify.keep=0.3"
        ).sparsify.keep
        == 0.3
    )
    assert composed("merge=ties", "sparsify=none").sparsify is None
