"""CLIP the whole way through a run, from every source and in either packaging."""

import re

import pytest
import torch
from omegaconf import OmegaConf

from tadrop.app.runs import build, opening
from tadrop.app.runs import run as runner
from tadrop.app.schema.values import resolved
from tadrop.evaluation.bench import precision, set_up
from tadrop.models.matrices import matrix_layouts
from tadrop.results import identity
from tadrop.types import TadropError
from tests.models.test_clip import configured, from_folder, opened


@pytest.fixture
def model(clip_model):
    return clip_model


@pytest.fixture
def hub(clip_hub):
    return clip_hub


def shapes_of(model):
    base = model.open_base()
    return {name: tuple(base.like(name).shape) for name in base.tensors}


def test_the_whole_way_through_run(hub, tmp_path):
    """Three sources and two packagings, in one process.

    Elementwise merges agree, per-tensor ones are their packaging's.
    """
    accuracy = {}
    for source, packaging in (
        ("hub", "split"),
        ("tall_masks", "fused"),
        ("task_vectors", "split"),
    ):
        config = configured(
            hub,
            tmp_path,
            f"model.source={source}",
            f"model.packaging={packaging}",
            "merge=average",
            "tadrop=off",
        )
        record = runner.run(config)
        accuracy[source] = [score["value"] for score in record["scores"]]
        assert record["config"]["model"]["packaging"] == packaging
        assert "fer2013 has 40 of 7178 test examples" in record["protocol"]["tasks"]
    assert accuracy["hub"] == accuracy["tall_masks"] == accuracy["task_vectors"]
    record = runner.run(configured(hub, tmp_path, "merge=emr", "tadrop=on"))
    assert 0 < record["density"] < 1
    assert not {"hub_dir", "cache"} & {
        *record["config"]["model"],
        *record["config"]["tasks"],
    }  # places are not science
    again = runner.run(
        configured(hub, tmp_path, "merge=emr", "tadrop=on")
    )  # found, not run
    assert (again["key"], again["scores"], again["seconds"]) == (
        record["key"],
        record["scores"],
        record["seconds"],
    )


def test_what_is_exported_is_read_back(hub, tmp_path):
    """A full checkpoint of each task, in the hub's names and with its head: as experts they score
    what they scored.
    """
    words = ("tadrop=off", "tasks.names=[mnist,fer2013]", "limit=20")
    made = configured(
        hub,
        tmp_path,
        *words,
        "merge=emr",
        f"export.dir={tmp_path / 'out'}",
        "export.expand=true",
    )
    before = runner.run(made)
    after = runner.run(
        configured(
            hub, tmp_path, *words, "merge=individual", *from_folder(tmp_path / "out")
        )
    )
    assert [s["value"] for s in after["scores"]] == [
        s["value"] for s in before["scores"]
    ]


def test_bfloat16_is_for_the_evaluation_alone(hub, tmp_path):
    words = ("merge=average", "tadrop=off", "tasks.names=[mnist,fer2013]")
    plain, half = (
        runner.run(configured(hub, tmp_path, *words, f"dtype={d}"))
        for d in ("float32", "bfloat16")
    )
    assert plain["key"] != half["key"]
    assert (plain["dtype"], half["dtype"], half["config"]["dtype"]) == (
        "float32",
        "bfloat16",
        "bfloat16",
    )
    old = OmegaConf.to_container(configured(hub, tmp_path, *words), resolve=True)
    del old["dtype"]  # as it was before there was a choice
    assert identity.key(old) == plain["key"]
    backbone = opened(hub, tmp_path, "tasks.names=[mnist]")
    experts = {"mnist": backbone.open_expert("mnist")}
    benches = [
        set_up(
            backbone,
            backbone.open_base(),
            experts,
            backbone.tasks,
            torch.device("cpu"),
            dtype,
        )
        for dtype in (torch.float32, torch.bfloat16)
    ]
    images, found = next(iter(backbone.tasks.batches("mnist", "test")))[0], []
    for bench in benches:
        bench.equip("mnist")
        with torch.inference_mode(), precision(bench):
            found.append(bench.module(images))
    assert (
        found[1].dtype == torch.float32
    )  # not rounded to 8 bits, which would make classes tie
    assert not torch.equal(found[1], found[1].bfloat16().float())
    torch.testing.assert_close(found[0], found[1], atol=0.5, rtol=0)
    assert not torch.equal(found[0], found[1])
    with pytest.raises(TadropError, match="float32 or bfloat16"):
        opening.dtype_of("float16")


def test_zero_dimensional_tensors_go_through_every_stage(hub, tmp_path):
    words = ("model.source=tall_masks", "model.packaging=fused", "model.leftovers=true")
    record = runner.run(
        configured(
            hub,
            tmp_path,
            *words,
            "merge=emr",
            "tadrop=on",
            "tasks.names=[mnist,fer2013]",
        )
    )
    plain = runner.run(
        configured(
            hub,
            tmp_path,
            *words[:2],
            "merge=emr",
            "tadrop=on",
            "tasks.names=[mnist,fer2013]",
        )
    )
    assert (
        record["parameters"] - plain["parameters"]
        == 49408 * 64 + 77 * 64 + 64 * 32 + 64 + 64 + 1
    )
    assert [s["value"] for s in record["scores"]] == [
        s["value"] for s in plain["scores"]
    ]


ATTENTION = re.compile("in_proj_weight|[qkv]_proj.weight")
FUSING = ("tsv_m", "tsv_c", "iso_c", "iso_cts", "wudi", "wudi_exact", "emr_code")


def packaging(hub, tmp_path, *words):
    """What a run's record says of it, and the settings that it stores of its row."""
    config = resolved(configured(hub, tmp_path, *words))
    stored = identity.settings(config)
    assert "packagings" not in stored["model"]
    assert "packaging" not in stored["merge"]
    return stored["model"]["packaging"]


@pytest.mark.parametrize("row", FUSING)
def test_rows_have_q_k_and_v_as_their_authors_have_them(hub, tmp_path, row):
    words = (f"merge={row}", "tadrop=off")
    assert packaging(hub, tmp_path, *words) == "fused"
    assert packaging(hub, tmp_path, *words, "model.packaging=split") == "split"


def test_other_rows_have_them_as_their_source_has_them(hub, tmp_path):
    for row in ("ties", "emr", "regmean", "smile"):
        assert packaging(hub, tmp_path, f"merge={row}") == "split"
        for source in ("tall_masks", "task_vectors"):
            words = (f"merge={row}", f"model.source={source}")
            assert packaging(hub, tmp_path, *words) == "fused"
            words += ("model.packaging=split",)
            assert packaging(hub, tmp_path, *words) == "split"


def test_a_row_that_fuses_has_the_references_of_the_others(hub, tmp_path):
    """Individual models are evaluated once, and stand once in a table."""
    keys = set()
    for row in ("ties", "tsv_m"):
        config = configured(hub, tmp_path, f"merge={row}", "tadrop=off")
        references = map(resolved, runner.reference_configs(config))
        keys.add(tuple(map(identity.key, references)))
    assert len(keys) == 1


def test_a_matrix_of_q_k_and_v_is_one_to_a_row_that_fuses(hub, tmp_path):
    names = {}
    for row in ("tsv_m", "average"):
        config = resolved(configured(hub, tmp_path, f"merge={row}"))
        model = build.model(config["model"]).bound(build.tasks(config["tasks"]))
        layouts = matrix_layouts("clip", model.matrices, shapes_of(model))
        names[row] = [name for name in layouts if ATTENTION.search(name)]
    assert len(names["tsv_m"]) == len(names["average"]) / 3 > 0
    assert all("in_proj_weight" in name for name in names["tsv_m"])
    assert all("_proj.weight" in name for name in names["average"])
