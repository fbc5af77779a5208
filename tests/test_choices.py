"""What the tests remember of Hydra's compositions is what Hydra composes."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from tadrop.app.places import CONF
from tests import choices

WORDS = [
    ("merge=emr", "tadrop=off", "limit=3"),
    ("tasks=glyph20", "model=vit_b32", "paths.cache=/nowhere"),
    ("+board=demo", "merge=ties", "+merge.more={a: 1}", "~export.expand"),
]


def composed(words, folder=CONF):
    """What is composed of these words, Hydra's own part with it, unresolved."""
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose("config", list(words), return_hydra_config=True)


@pytest.fixture
def plainly(monkeypatch):
    """A function that composes without the memory."""

    def without(words):
        with monkeypatch.context() as patch:
            loading, loader = choices.loading, choices.loading.ConfigLoaderImpl
            patch.setattr(loading, "create_defaults_list", choices.create_defaults_list)
            name = "_compose_config_from_defaults_list"
            patch.setattr(loader, name, choices.compose)
            patch.setattr(loader, "get_group_options", choices.group_options)
            patch.setattr(choices.FileConfigSource, "load_config", choices.load_config)
            return composed(words)

    return without


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words[0])
def test_what_is_remembered_is_what_hydra_composes(words, plainly):
    expected = OmegaConf.to_container(plainly(words))
    for _ in range(2):
        assert OmegaConf.to_container(composed(words)) == expected


def test_what_is_handed_out_is_a_copy():
    first = composed(WORDS[0])
    OmegaConf.update(first, "merge.title", "Changed")
    assert composed(WORDS[0]).merge.title == "EMR"
    other = composed(["merge=emr", "tadrop=off", "limit=4"])
    assert other.limit == 4


def test_a_file_that_is_written_anew_is_read_anew(tmp_path):
    file, row = tmp_path / "config.yaml", tmp_path / "row"
    row.mkdir()
    (row / "one.yaml").write_text("value: 1\n")
    file.write_text("defaults: [_self_, row: one]\nname: first\n")
    assert composed([], tmp_path).row.value == 1
    (row / "one.yaml").write_text("value: 12\n")
    assert composed([], tmp_path).row.value == 12
    file.write_text("defaults: [_self_, row: one]\nname: second\n")
    assert composed([], tmp_path).name == "second"
    (row / "two.yaml").write_text("value: 2\n")
    assert composed(["row=two"], tmp_path).row.value == 2


def test_a_file_that_is_added_to_a_group_is_found_and_lists_are_copies(tmp_path):
    (tmp_path / "row").mkdir()
    (tmp_path / "row" / "one.yaml").touch()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        loader.get_group_options("row").clear()
        assert loader.get_group_options("row") == ["one"]
        (tmp_path / "row" / "two.yaml").touch()
        assert loader.get_group_options("row") == ["one", "two"]
        assert loader.get_group_options("nothing") == []
