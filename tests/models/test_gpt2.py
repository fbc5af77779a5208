"""GPT-2 on GLUE against transformers' own classifier, on a hub folder made here."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from tadrop.app import places
from tadrop.app.runs import build, run
from tadrop.app.runs.opening import open_bench
from tadrop.models.language import gpt2
from tadrop.models.weights import private_tensors
from tadrop.types import TadropError
from tests import text_hub
from tests.baselines.test_data_rows import ROWS as DATA_ROWS

CONF = str(places.CONF)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    return text_hub.write(tmp_path_factory.mktemp("hub"))


def configure(*overrides):
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("config", list(overrides))


def configured(hub, tmp_path, *overrides):
    places = (
        f"paths.hub={hub}",
        f"paths.cache={tmp_path}/cache",
        f"paths.records={tmp_path}/records",
    )
    return configure(
        "model=gpt2", *places, "device=cpu", "tasks.strict=false", *overrides
    )


def parts(hub, tmp_path, *overrides):
    cfg = configured(hub, tmp_path, *overrides)
    return build.model(cfg.model), build.tasks(cfg.tasks)


def texts(hub, task, split="validation"):
    import pyarrow.parquet as pq

    table = pq.read_table(
        next((hub / "datasets" / "nyu-mll" / "glue" / task).glob(f"{split}-*"))
    )
    return [table.column(c).to_pylist() for c in text_hub.GLUE[task][0]], np.array(
        table.column("label").to_pylist()
    )


def theirs(hub, task, weights=None, split="validation"):
    """Logits of transformers' classifier, padded to 512 with its pad token and a mask, in the
    file's order.
    """
    from transformers import AutoTokenizer, GPT2ForSequenceClassification

    model = GPT2ForSequenceClassification.from_pretrained(
        hub / "models" / "tanganke" / f"gpt2_{task}"
    ).eval()
    if weights is not None:
        model.transformer.load_state_dict(weights)
    tokenizer = AutoTokenizer.from_pretrained(
        hub / "models" / "openai-community" / "gpt2"
    )
    tokenizer.pad_token, tokenizer.padding_side = "<|endoftext|>", "right"
    columns, labels = texts(hub, task, split)
    encoded = tokenizer(
        *columns,
        padding="max_length",
        truncation=True,
        max_length=512,
        return_tensors="pt",
    )
    with torch.no_grad():
        return model(**encoded).logits, labels


def ours(hub, tmp_path, task):
    """Logits of an expert over our batches, and their labels."""
    backbone, tasks = parts(hub, tmp_path, f"tasks.names=[{task}]", "tasks.batch=128")
    expert = backbone.open_expert(task)
    module = backbone.build().eval()
    module.transformer.load_state_dict(
        {n[12:]: t for n, t in expert.tensors.items() if n != "score.weight"}
    )
    backbone.equip(module, private_tensors(backbone, expert))
    with torch.no_grad():
        found = [(module(ids), labels) for ids, labels in tasks.batches(task, "test")]
    assert len(found) > 1
    return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found]), tasks


@pytest.mark.parametrize("task", ["cola", "qnli"])
def test_logits_of_bucketed_batches_are_those_of_padding_to_the_maximum(
    hub, tmp_path, task
):
    logits, labels, tasks = ours(hub, tmp_path, task)
    expected, expected_labels = theirs(hub, task)
    lengths = np.diff(tasks.tokens(task, "test").ends.numpy(), prepend=0)
    order = np.argsort(lengths, kind="stable")
    torch.testing.assert_close(logits, expected[order], atol=1e-5, rtol=1e-5)
    assert labels.tolist() == expected_labels[order].tolist()
    assert expected.std() > 0.1


def test_files_of_either_naming_give_the_same_names(hub, tmp_path):
    backbone, _ = parts(hub, tmp_path)
    base, expert = backbone.open_base(), backbone.open_expert("cola")
    assert set(expert.tensors) - set(base.tensors) == {"score.weight"}
    assert set(base.tensors) <= set(expert.tensors)
    assert not any(name.endswith(".attn.bias") for name in base.tensors)
    old = {"lm_head.weight": 0, "h.0.attn.masked_bias": 0, "wpe.weight": 0}
    assert set(gpt2.adapt(old)) == {"transformer.wpe.weight"}


def test_declared_orientation_is_the_files(hub, tmp_path):
    from fnmatch import fnmatch

    layout = [
        entry["names"]
        for entry in configured(hub, tmp_path).model.matrices
        if entry.get("transposed")
    ]
    shapes = {
        n: tuple(t.shape)
        for n, t in parts(hub, tmp_path)[0].open_base().tensors.items()
    }
    marked = [n for n in shapes if any(fnmatch(n, p) for p in layout)]
    turned = {n.removeprefix("transformer.h.0."): shapes[n] for n in marked}
    assert turned["attn.c_attn.weight"] == (16, 48)  # 16 in, 3 x 16 out
    assert turned["mlp.c_fc.weight"] == (16, 64)
    assert turned["mlp.c_proj.weight"] == (64, 16)
    assert len(turned) == 4 + 4


def test_a_run_gives_the_accuracies_of_transformers(hub, tmp_path):
    cfg = configured(hub, tmp_path, "merge=average", "tadrop=off")
    record, individual, pretrained = [
        run.run(c) for c in (cfg, *run.reference_configs(cfg))
    ]
    experts = {
        t: load_file(hub / "models" / "tanganke" / f"gpt2_{t}" / "model.safetensors")
        for t in text_hub.GLUE
    }
    names = [
        n.removeprefix("transformer.") for n in experts["cola"] if n != "score.weight"
    ]
    mean = {
        n: torch.stack([e[f"transformer.{n}"] for e in experts.values()]).mean(0)
        for n in names
    }
    for task in ("cola", "mnli", "mrpc"):
        split = "validation_matched" if task == "mnli" else "validation"
        for one, weights in ((record, mean), (individual, None)):
            logits, labels = theirs(hub, task, weights, split)
            score = next(s for s in one["scores"] if s["task"] == task)
            assert score["value"] == pytest.approx(
                (logits.argmax(1).numpy() == labels).mean()
            )
            assert score["count"] == 12
    assert pretrained["scores"] != individual["scores"]
    assert record["parameters"] == sum(t.numel() for t in mean.values())
    assert (
        str(hub) not in Path(tmp_path / "records" / f"{record['key']}.json").read_text()
    )


@pytest.mark.parametrize("merge", ["task_arithmetic", "ties", "dare", "emr"])
def test_methods_run_with_tadrop(hub, tmp_path, merge):
    record = run.run(
        configured(
            hub, tmp_path, f"merge={merge}", "tadrop=on", "tasks.names=[cola,rte]"
        )
    )
    assert [s["count"] for s in record["scores"]] == [12, 12]
    assert 0 < record["density"] < 1


def test_references_hold_nothing_of_the_row(hub, tmp_path):
    individual, pretrained = run.reference_configs(
        configured(hub, tmp_path, "merge=ties")
    )
    assert set(individual.merge.method.merge) == {"_target_", "_partial_"}
    assert "survey" not in pretrained.merge.method


def test_a_model_brings_its_tasks_unless_others_are_asked_for():
    assert configure("model=gpt2").tasks.names[0] == "cola"
    assert configure("model=gpt2", "tasks=glyph8").tasks.names[0] == "latin_upper"
    assert configure("tasks=glyph8", "model=gpt2").tasks.names[0] == "latin_upper"
    assert configure().tasks.names[0] == "latin_upper"


def test_missing_things_are_named_in_one_line(hub, tmp_path):
    backbone, _ = parts(tmp_path / "empty", tmp_path)
    with pytest.raises(
        TadropError,
        match=r"openai-community/gpt2; looked in .*HF_HUB_OFFLINE.*set paths\.hub=DIR",
    ) as info:
        backbone.open_base()
    assert "\n" not in str(info.value)
    with pytest.raises(
        TadropError, match=r"no checkpoint at /nowhere/gpt2; set model\.base"
    ):
        parts(hub, tmp_path, "model.base=/nowhere/gpt2")[0].open_base()
    _, tasks = parts(hub, tmp_path, "tasks.sources.rte.test=test")
    with pytest.raises(
        TadropError, match=r"no test-\*.parquet; there is train, validation"
    ):
        tasks.tokens("rte", "test")
    with pytest.raises(TadropError, match="no column called phrase"):
        parts(hub, tmp_path, "tasks.sources.rte.columns=[phrase]")[1].tokens(
            "rte", "test"
        )
    with pytest.raises(InstantiationException, match=r"no text task is called 'stsb'"):
        parts(hub, tmp_path, "tasks.names=[stsb]")
    with pytest.raises(TadropError, match="no tokenizer"):
        parts(hub, tmp_path, f"tasks.tokenizer={hub}/models/tanganke/gpt2_rte")[
            1
        ].tokens("rte", "test")


def test_a_base_with_a_hole_and_texts_too_long_are_refused(hub, tmp_path):
    world = tmp_path / "hub"
    shutil.copytree(hub, world)
    file = world / "models" / "openai-community" / "gpt2" / "model.safetensors"
    tensors = load_file(file)
    save_file({n: t for n, t in tensors.items() if n != "h.1.ln_2.bias"}, file)
    config = OmegaConf.to_container(
        configured(world, tmp_path, "tasks.names=[rte]"), resolve=True
    )
    with pytest.raises(TadropError, match=r"transformer.h.1.ln_2.bias"):
        open_bench(config)
    module = parts(hub, tmp_path)[0].build()
    with pytest.raises(TadropError, match=r"set tasks\.max_length=512"):
        module(torch.zeros(1, 513, dtype=torch.long))


SLOW = pytest.mark.slow
LEFT_OUT = (
    "fisher",
    "adamerging_plus",
    "adamerging_task_plus",
)  # slow, or no other code than their siblings
ROWS = {row: words for row, words in DATA_ROWS.items() if row not in LEFT_OUT}


@pytest.mark.parametrize(
    "row",
    [r if r in ("regmean", "surgery") else pytest.param(r, marks=SLOW) for r in ROWS],
)
def test_methods_that_look_at_data_read_texts(hub, tmp_path, row):
    """Texts of all lengths are mixed, and padded no more than need be."""
    words = (f"merge={row}", "tadrop=off", "limit=20", "tasks.names=[cola,rte]")
    record = run.run(configured(hub, tmp_path, *words, *ROWS[row]))
    assert len(record["scores"]) == 2
    assert record["stored_bytes"] > 0
