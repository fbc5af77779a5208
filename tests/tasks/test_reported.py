"""Numbers of individual models stand beside the models, data and metrics they are of."""

import pytest
import yaml

from tadrop.models.backbone import Backbone
from tadrop.tasks.glue import TextTasks
from tadrop.tasks.reading.registry import REGISTRIES, reported
from tests import text_hub

GPT2 = "tanganke/gpt2_{task}"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    text_hub.write_tokenizer(folder / "models" / "gpt2" / "tiny")
    text_hub.write_glue(folder / "datasets" / "nyu-mll" / "glue", rows=12)
    return folder


def texts(hub, **changes):
    """CoLA and MNLI as their source measured them, but for the changes to MNLI."""
    cola = {"columns": ["sentence"], "test": "validation", "folder": "cola"}
    mnli = {
        "columns": ["premise", "hypothesis"],
        "test": "validation_matched",
        "folder": "mnli",
    }
    sources = {"cola": cola, "mnli": mnli | changes}
    for source in sources.values():
        source["data"] = "nyu-mll/glue"
    return TextTasks(
        names=["cola", "mnli"],
        sources=sources,
        tokenizer="gpt2/tiny",
        hub_dir=str(hub),
    )


def backbone(tasks, name="gpt2", experts=GPT2):
    model = Backbone(name, "gpt2", experts, build=dict, equip=print)
    return model.bound(tasks).published()


def test_the_authors_models_on_their_data(hub):
    assert backbone(texts(hub)) == {"cola": 76.8, "mnli": 82.1}
    assert backbone(texts(hub, rows={"validation_matched": 12})).keys() == {
        "cola",
        "mnli",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"test": "validation_mismatched"},
        {"rows": {"validation_matched": 9815}},  # these data are a cut
        {"metric": "matthews"},
    ],
)
def test_other_data_or_another_metric_have_no_numbers(hub, change):
    assert backbone(texts(hub, **change)) == {"cola": 76.8}


def test_other_models_have_no_numbers(hub):
    assert backbone(texts(hub), experts="my/gpt2_{task}") == {}
    assert backbone(texts(hub), name="gpt2_small") == {}
    mixed = {"cola": "tanganke/gpt2_cola", "mnli": "my/mnli"}
    assert backbone(texts(hub), experts=mixed) == {"cola": 76.8}
    assert Backbone("gpt2", "gpt2", GPT2, build=dict, equip=print).published() == {}


def test_numbers_are_those_of_the_configured_models():
    """The places in published.yaml are those that conf/model has."""
    from pathlib import Path

    table = yaml.safe_load((REGISTRIES / "published.yaml").read_text())
    conf = Path(__file__).parents[2] / "conf" / "model"
    for source in ("fusion_bench_gpt2", "emr_roberta", "emr_beit3"):
        (name,) = set(table[source]) - {"source", "experts", "splits", "metrics"}
        model = yaml.safe_load((conf / f"{name}.yaml").read_text())
        assert table[source]["experts"] == model["experts"]
        experts = model["experts"]
        numbers = table[source][name]
        places = {}
        for task in numbers:
            place = experts if isinstance(experts, str) else experts[task]
            places[task] = place.format(task=task)
        splits = table[source].get("splits", {})
        metrics = table[source].get("metrics", {})
        measured = {}
        for task in numbers:
            measured[task] = (splits.get(task, "x"), metrics.get(task, "accuracy"))
        assert reported(name, places, measured) == numbers


def test_their_averages_are_those_that_the_sources_print():
    table = yaml.safe_load((REGISTRIES / "published.yaml").read_text())
    for source, model, mean in (
        ("fusion_bench_gpt2", "gpt2", 82.0),
        ("emr_roberta", "roberta_base", 85.56),
    ):
        numbers = table[source][model].values()
        assert sum(numbers) / len(numbers) == pytest.approx(mean, abs=0.06)
