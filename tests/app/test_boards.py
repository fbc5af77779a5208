"""Every recipe composes into runs with records of their own; --dry-run says what they would take."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tadrop.app import boards as recipes
from tadrop.app import cost
from tadrop.app.runs.run import reference_configs
from tadrop.app.verbs import table as tables
from tadrop.results import identity
from tadrop.types import TadropError
from tests import records as hand

GROUPS = {"model", "tasks"}


def absent(name):
    """The groups' files that a recipe names and the configuration does not have."""
    node = OmegaConf.to_container(
        OmegaConf.load(recipes.CONF / "experiment" / f"{name}.yaml")
    )
    wanted = [next(iter(item.items())) for item in node.get("defaults", [])]
    paths = [
        Path(key.removeprefix("override /")) / f"{value}.yaml" for key, value in wanted
    ]
    return [str(path) for path in paths if not (recipes.CONF / path).exists()]


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_says_what_it_is_and_its_first_and_last_job_compose(name):
    if missing := absent(name):
        pytest.skip(f"needs conf/{', conf/'.join(missing)}")
    assert recipes.about(name)
    words = recipes.overrides(name)
    assert len(words) == len({tuple(job) for job in words})
    for job in (words[0], words[-1]):
        assert recipes._compose(name, job).merge.name


@pytest.mark.parametrize("recipe", ["ablation_granularity", "demo"])
def test_shared_compositions_are_what_hydra_composes(recipe):
    for cfg, words in recipes.jobs(recipe, ["limit=5"])[::5]:
        alone = recipes._compose(recipe, words)
        assert identity.key(OmegaConf.to_container(cfg, resolve=True)) == identity.key(
            OmegaConf.to_container(alone, resolve=True)
        )


def test_references_are_those_that_a_run_makes():
    """Resolved at once for a whole recipe, and as run.py makes them."""
    (cfg, *_), configs = (
        recipes.configs("table_text7"),
        [config for config, _ in recipes.runs("table_text7")],
    )
    made = [
        OmegaConf.to_container(each, resolve=True) for each in reference_configs(cfg)
    ]
    assert [identity.key(config) for config in made] == [
        identity.key(config) for config in configs[: len(made)]
    ]


def test_glyph_tables_discover_every_row():
    merges = {
        job[1].removeprefix("merge=") for job in recipes.overrides("table_glyph8")
    }
    rows = {path.stem for path in (recipes.CONF / "merge").glob("*.yaml")}
    test_time = {row for row in rows if row.startswith(("adamerging", "surgery"))}
    minutes = {
        row for row in rows if row.startswith("nps")
    }  # hundreds of evaluations a run
    two_models = {row for row in rows if row.startswith("slerp")}
    assert merges == rows - test_time - minutes - two_models - {
        "individual",
        "pretrained",
    }


def test_a_seed_makes_a_run_of_its_own_only_where_chance_plays_a_part():
    def count(merge, tadrop, *more):
        words = [f"merge={merge}", f"tadrop={tadrop}", *more]
        runs = [recipes._compose("demo", [*words, f"seed={seed}"]) for seed in (0, 1)]
        return len(
            {identity.key(OmegaConf.to_container(cfg, resolve=True)) for cfg in runs}
        )

    assert count("average", "off") == 1
    assert count("dare", "off") == 2
    assert (
        count("dare", "on") == count("dare", "uniform") == 1
    )  # TADrop stands in for the random drop
    assert count("dare", "on", "tadrop.placement=before") == 2
    assert count("average", "shuffled") == 2


def test_what_is_not_a_recipe():
    with pytest.raises(
        TadropError, match="no recipe is called 'nothing'; there are ablation"
    ):
        recipes.overrides("nothing")


def test_a_value_that_does_not_exist_is_named():
    with pytest.raises(TadropError, match="tadrop"):
        recipes.jobs("demo", ["tadrop.nonsense=1"])


@pytest.fixture
def recorded(tmp_path):
    """Half of the demo's runs as records made by hand."""
    runs = {identity.key(config): config for config, _ in recipes.runs("demo")}
    for key, config in list(runs.items())[::2]:
        made = hand.record("ties", tadrop=None) | {
            "key": key,
            "config": identity.settings(config),
        }
        scores = [
            {"task": t, "split": "test", "metric": "accuracy", "value": 0.5, "count": 9}
            for t in config["tasks"]["names"]
        ]
        (tmp_path / f"{key}.json").write_text(json.dumps(made | {"scores": scores}))
    return tmp_path, list(runs)


def test_dry_run_lists_what_is_owed_and_what_it_costs(recorded):
    folder, keys = recorded
    text = cost.dry_run("demo", folder)
    assert (
        f"{len(keys)} runs, {len(keys[::2])} recorded, {len(keys[1::2])} owed" in text
    )
    listed = [
        line
        for line in text.splitlines()
        if line.startswith("  ") and line.split()[0] in keys
    ]
    assert [line.split()[0] for line in listed] == keys[1::2]
    assert all(line.endswith("6 s") for line in listed)
    assert f"expected: {6 * len(keys[1::2])} s" in text


def test_dry_run_names_checkpoints_that_are_not_there(tmp_path):
    text = cost.dry_run(
        "demo", tmp_path, ["model.base=gone.safetensors", "tasks.names=[hebrew]"]
    )
    assert "no checkpoint at gone.safetensors" in text
    assert "  ?" in text


def test_a_missing_record_names_the_command_and_partial_makes_do(recorded):
    folder, keys = recorded
    with pytest.raises(
        TadropError,
        match=r"is not there; make it with: python run.py \+experiment=demo",
    ):
        tables.collect("demo", folder)
    assert [one["key"] for one in tables.collect("demo", folder, partial=True)] == keys[
        ::2
    ]


@pytest.mark.slow
def test_a_dry_run_of_a_hub_model_names_what_it_would_download_and_downloads_nothing(
    tmp_path, monkeypatch
):
    if not (recipes.CONF / "model" / "vit_b32.yaml").exists():
        pytest.skip("needs conf/model/vit_b32.yaml")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = OmegaConf.to_container(
        recipes.configs("table_vit_b32_8", [f"paths.hub={tmp_path}"])[0], resolve=True
    )
    lines = cost.missing(config)
    assert (
        sum("checkpoint" not in line and "model=vit_b32" in line for line in lines) == 9
    )
    assert sum("needs the data set" in line for line in lines) == 8
    assert list(tmp_path.iterdir()) == []
