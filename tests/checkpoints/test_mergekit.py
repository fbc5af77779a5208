"""The same numbers as mergekit, whose own are in golden/mergekit.safetensors."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tadrop.app.verbs.checkpoints.merge import main
from tests.checkpoints.golden.make import FILE, RECIPES, ROWS


def state_of(case):
    states = {}
    for name, tensor in load_file(FILE).items():
        if name.startswith(f"{case}/"):
            states[name.removeprefix(f"{case}/")] = tensor
    assert states
    return states


@pytest.fixture
def world(tmp_path, monkeypatch):
    for name in ("base", "a", "b"):
        (tmp_path / name).mkdir()
        save_file(state_of(name), tmp_path / name / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compare(case):
    wanted, out = state_of(case), load_file("out/model.safetensors")
    assert out.keys() == wanted.keys()
    for name, tensor in out.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=2e-6, msg=name)


@pytest.mark.parametrize("case", RECIPES)
def test_a_recipe_means_what_it_means_there(world, case):
    content = {"dtype": "float32", **RECIPES[case]}
    Path("kit.yaml").write_text(yaml.safe_dump(content))
    main(["--recipe", "kit.yaml", "-o", "out"])
    compare(case)


@pytest.mark.parametrize("case", ROWS)
def test_rows_that_are_those_methods_where_nothing_is_drawn(world, case):
    main(["base", "a", "b", "--scale", "1", "-o", "out", *ROWS[case][1]])
    compare(case)
