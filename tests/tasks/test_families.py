"""Every task set keeps the protocol, and says which data it lacks; a new family, and a task
of a known one, take no more than they should.
"""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tadrop.app.runs import build
from tadrop.protocols.tasks import ImageTasks, QuestionTasks, Tasks
from tadrop.tasks import glyphs, multimodal
from tadrop.tasks.reading import images, tokens
from tests import copies

CONF = Path(__file__).parents[2] / "conf"
MODELS = {
    "glyphs": "glyph_vit",
    "images": "vit_b32",
    "text": "roberta_base",
    "vision-language": "beit3",
}
VERSIONS = {
    "glyphs": glyphs.VERSION,
    "images": images.VERSION,
    "text": tokens.VERSION,
    "vision-language": multimodal.VERSION,
}
SETS = sorted(path.stem for path in (CONF / "tasks").glob("[!_]*.yaml"))
ONE_OF_EACH = {
    "glyphs": "glyph8",
    "images": "vision8",
    "text": "glue8",
    "vision-language": "multimodal5",
}


def composed(name, family, *words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [f"model={MODELS[family]}", f"tasks={name}", *words]
        return compose("config", overrides).tasks


def family_of(name):
    """What the YAML says: its kind and its version."""
    import yaml

    node = yaml.safe_load((CONF / "tasks" / f"{name}.yaml").read_text())
    kind, _, version = node["family"].rpartition("-")
    return kind, int(version)


@pytest.mark.parametrize("name", SETS)
def test_every_set_keeps_the_protocol(name):
    kind, version = family_of(name)
    node = composed(name, kind)
    tasks = build.tasks(node)
    assert isinstance(tasks, Tasks)
    assert tuple(tasks.names) == tuple(node.names)
    assert node.name == name
    assert version == VERSIONS[kind]
    assert isinstance(tasks, ImageTasks) == (kind == "images")
    assert isinstance(tasks, QuestionTasks) == (kind == "vision-language")


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_data_that_are_not_at_hand_are_named_and_none_that_are(kind, tmp_path):
    node = composed(ONE_OF_EACH[kind], kind, f"paths.hub={tmp_path}")
    tasks = build.tasks(node)
    lines = tasks.needs()
    if kind == "glyphs":
        assert lines == []
        return
    assert len(lines) == len(tasks.names)
    for task, line in zip(tasks.names, map(str, lines), strict=True):
        begin = f"task {task!r} needs the data set "
        assert line.startswith(begin)
        reference, _, files = line.removeprefix(begin).partition(", ")
        folder = tmp_path / "datasets" / reference
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "text":
            (folder / files.replace("*", "00000-of-00001")).parent.mkdir(exist_ok=True)
            (folder / files.replace("*", "00000-of-00001")).touch()
    assert tasks.needs() == []


def test_folders_that_are_not_at_hand_are_named(tmp_path):
    entry = "+tasks.entries.pets={folder: my/pets}"
    words = (f"paths.hub={tmp_path}", entry, "tasks.names=[pets]")
    node = composed("vision8", "images", *words)
    assert [need.data for need in build.tasks(node).needs()] == ["my/pets"]


FAMILY = '''"""Glyphs, upside down: a family that is one file."""

from dataclasses import dataclass

from tadrop.tasks.glyphs import GlyphTasks


@dataclass(frozen=True)
class TurnedTasks(GlyphTasks):
    def protocol(self):
        return "turned-1"

    def batches(self, task, split):
        for images, labels in super().batches(task, split):
            yield images.flip(2), labels
'''
SET = """name: turned2
family: turned-1
_target_: tadrop.tasks.turned.TurnedTasks
names: [latin_upper, hebrew]
limit: ${limit}
cache: ${paths.cache}
"""


TRIAL = """
from hydra import compose, initialize_config_dir
from tadrop.app.places import CONF
from tadrop.app.runs import build
from tadrop.protocols.tasks import Tasks
from tadrop.results.record import key
with initialize_config_dir(str(CONF), version_base="1.3"):
    config = build.resolved(compose("config", ["tasks=turned2", "limit=8"]))
tasks = build.tasks(config["tasks"])
images, labels = next(tasks.batches("hebrew", "validation"))
print(isinstance(tasks, Tasks), tasks.protocol(), len(images), key(config))
"""


def test_a_family_is_a_file_and_a_yaml(tmp_path):
    folder = copies.copy_repository(tmp_path)
    (folder / "tadrop/tasks/turned.py").write_text(FAMILY)
    (folder / "conf/tasks/turned2.yaml").write_text(SET)
    printed = copies.python(folder, "-c", TRIAL)
    assert printed.startswith("True turned-1 8 ")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "images",
            ["+tasks.entries.mine={id: a/b, classes: [x, y]}", "tasks.names=[mine]"],
        ),
        (
            "text",
            [
                "+tasks.sources.mine={data: a/b, folder: c, columns: [text]}",
                "tasks.names=[mine]",
            ],
        ),
    ],
)
def test_a_task_of_a_known_family_is_an_entry(kind, words, tmp_path):
    node = composed(ONE_OF_EACH[kind], kind, f"paths.hub={tmp_path}", *words)
    tasks = build.tasks(node)
    (need,) = tasks.needs()
    assert str(need).startswith("task 'mine' needs the data set a/b, ")
