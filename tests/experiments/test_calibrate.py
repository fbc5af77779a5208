"""Trials of the embedded suite: their settings, their table, and how they are judged."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from experiments import calibrate
from experiments.glyphs.recipe import TaskRecipe
from experiments.train_glyphs import write_manifest

ASSETS = calibrate.ROOT / "tadrop" / "assets" / "glyph_vit"
FOUND = {
    "pretrained": 40.0,
    "individual": 90.0,
    "average": 60.0,
    "task_arithmetic": 70.0,
    "ties": 75.0,
}


def test_settings_replace_those_of_the_recipe():
    words = ["temperature=4", "optimizer=adamw", "frozen=[stem]"]
    recipe = calibrate.changed(TaskRecipe(), words)
    assert recipe.temperature == 4
    assert recipe.optimizer == "adamw"
    assert recipe.frozen == ("stem",)
    assert recipe.steps == TaskRecipe().steps
    with pytest.raises(TypeError, match="heat"):
        calibrate.changed(TaskRecipe(), ["heat=4"])


def test_a_line_says_how_far_each_row_goes():
    line = calibrate.line("one", TaskRecipe(), FOUND)
    assert [line[row] for row in calibrate.TUNED] == [40, 60, 70]
    assert line["pretrained"] == 40.0
    assert line["steps"] == str(TaskRecipe().steps)


def test_a_trial_made_again_replaces_its_row(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(calibrate, "TABLE", tmp_path / "calibration.csv")
    better = FOUND | {"ties": 80.0}
    for name, found in (("one", FOUND), ("two", FOUND), ("one", better)):
        calibrate.note(calibrate.line(name, TaskRecipe(), found))
    table = pd.read_csv(calibrate.TABLE)
    assert dict(zip(table["trial"], table["ties"], strict=True)) == {
        "two": 70,
        "one": 80,
    }


def test_the_committed_table_names_the_recipe_that_is_shipped():
    table = pd.read_csv(calibrate.TABLE, dtype=str)
    line = calibrate.line("rehearsed", TaskRecipe(), FOUND)
    settings = [key for key in line if key in TaskRecipe.__annotations__]
    shipped = {key: line[key] for key in settings}
    rows = table[settings].to_dict("records")
    assert shipped in rows


@pytest.mark.slow
def test_a_trial_is_judged_by_the_rows_that_tune_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(calibrate, "LIMIT", 4)
    for name in ("base", *calibrate.tasks()):
        shutil.copy(ASSETS / f"{name}.safetensors", tmp_path)
    write_manifest(tmp_path)
    found = calibrate.averages(tmp_path)
    assert found.keys() == {*calibrate.EDGES, *calibrate.TUNED}
    assert found["individual"] > found["pretrained"]
