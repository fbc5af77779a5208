"""Code may move: what records are called does not follow it."""

import json

import pytest

from tests import copies

MOVED = {
    "baselines/ties.py": "baselines/elections/trim_elect.py",
    "tadrop/sparsify/magnitude.py": "tadrop/sparsify/sizes/largest.py",
    "tadrop/tasks/glyphs.py": "tadrop/tasks/drawn/characters.py",
}
RENAMED = {"Magnitude": "LargestEntries", "GlyphTasks": "CharacterTasks"}
BUILD = """
from hydra import compose, initialize_config_dir
from tadrop.app.places import CONF
from tadrop.app.runs import build
with initialize_config_dir(str(CONF), version_base="1.3"):
    config = compose("config", ["merge=ties"])
print(build.part(config.merge.method).merge.func.__module__)
print(build.rule(config.sparsify))
print(build.tasks(config.tasks))
"""


@pytest.mark.slow
def test_keys_outlast_a_formula_a_sparsifier_and_a_task_family_that_move(tmp_path):
    folder = copies.copy_repository(tmp_path)
    for old, new in MOVED.items():
        copies.move_module(folder, old, new)
    for old, new in RENAMED.items():
        copies.rename(folder, old, new)
    printed = copies.python(folder, "-c", BUILD)
    for name in ("trim_elect", "LargestEntries", "CharacterTasks"):
        assert name in printed
    before = json.loads(copies.python(copies.ROOT, "-m", "tests.keys"))
    after = json.loads(copies.python(folder, "-m", "tests.keys"))
    assert len(before) > 100
    assert after == before
