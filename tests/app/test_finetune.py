"""Fine-tuning a tiny transformer on a tiny task, and merging what came out through run.py."""

import json

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from tadrop.app.runs import build
from tadrop.app.runs import run as runner
from tadrop.app.verbs.finetune import Run, spelled
from tadrop.evaluation.finetuning import FinetuneRecipe, batch_at, climb
from tadrop.models.hf_vision import file_name, fit_head
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.types import TadropError
from tests import tiny_clip as tiny
from tests.models.test_clip import CONF

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
WORDS = (
    "model.base=extra/tiny",
    "model.preprocess.size=28",
    "tasks.names=[mnist,eurosat]",
    "device=cpu",
)


def write_classes(hub, task, count):
    """Images whose brightness is their class: learnable in a few steps."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    features = Features(
        {"image": ImageFeature(), "label": ClassLabel(names=["dark", "grey", "light"])}
    )
    folder = hub / "datasets/extra" / task / "data"
    folder.mkdir(parents=True)
    for seed, split in enumerate(("train", "test")):
        rng = np.random.default_rng([seed, len(task)])
        labels = rng.integers(0, 3, count)
        grey = [
            rng.integers(80 * i, 80 * i + 90, (28, 28, 3), dtype=np.uint8)
            for i in labels
        ]
        rows = [{"bytes": tiny.png(image), "path": None} for image in grey]
        data = Dataset.from_dict(
            {"image": rows, "label": labels.tolist()}, features=features
        )
        data.to_parquet(folder / f"{split}-00000-of-00001.parquet")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    write_hub(folder)
    return folder


def write_hub(folder):
    """A tiny DINOv2 in half precision, and two data sets."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(**TINY)).half().save_pretrained(
        folder / "models/extra/tiny"
    )
    for task in ("mnist", "eurosat"):
        write_classes(folder, task, 90)


def configured(hub, tmp_path, *overrides, name="finetune"):
    entries = [
        f"+tasks.entries.{task}={{id:extra/{task}}}" for task in ("mnist", "eurosat")
    ]
    places = [
        f"paths.hub={hub}",
        f"paths.cache={hub / 'cache'}",
        f"paths.experts={tmp_path / 'experts'}",
    ]
    with initialize_config_dir(CONF, version_base="1.3"):
        words = ["model=dinov2_s14", *places, *WORDS, *entries, *overrides]
        return compose(name, spelled(words))


SMALL = (
    "recipe=small",
    "recipe.steps=20",
    "recipe.warmup=2",
    "recipe.rate=1e-3",
    "save_every=5",
)


def tuned(hub, tmp_path, *overrides, task="mnist"):
    cfg = configured(hub, tmp_path, *SMALL, *overrides)
    config = OmegaConf.to_container(cfg, resolve=True)
    suite = build.tasks(config["tasks"])
    return Run(cfg, build.model(config["model"]).bound(suite), suite, task)


def test_recipe_is_chosen_by_the_word_that_says_so():
    words = ["recipe=small", "finetune=fusionbench", "recipe.steps=3", "seed=1"]
    chosen = ["finetune@recipe=small", "finetune@recipe=fusionbench"]
    assert spelled(words) == [*chosen, "recipe.steps=3", "seed=1"]


@pytest.mark.parametrize("optimizer", ["adamw", "sam", "torch.optim.SGD"])
def test_a_checkpoint_is_made_and_described(hub, tmp_path, optimizer):
    run = tuned(hub, tmp_path, f"recipe.optimizer={optimizer}")
    run()
    written = open_checkpoint(run.target).tensors
    base = open_checkpoint(hub / "models/extra/tiny").tensors
    assert set(written) == (set(base) - {"embeddings.mask_token"}) | {
        "head.weight",
        "head.bias",
    }
    assert all(
        written[n].shape == base[n].shape for n in set(base) - {"embeddings.mask_token"}
    )
    moved = "encoder.layer.1.attention.attention.query.weight"
    assert not torch.equal(written[moved], base[moved])
    facts = json.loads(run.target.with_suffix(".json").read_text())
    assert facts["threads"] == torch.get_num_threads()
    assert facts["recipe"]["optimizer"] == optimizer
    assert facts["validation"] > 60
    assert not run.state.exists()


def test_an_interrupted_run_ends_with_the_same_bits(hub, tmp_path, monkeypatch):
    whole = tuned(hub, tmp_path / "whole")
    whole()
    cut = tuned(hub, tmp_path / "cut")
    keep = cut.keep
    monkeypatch.setattr(
        cut,
        "keep",
        lambda pupil, optimizer, step: (
            keep(pupil, optimizer, step),
            step == 10 and 1 / 0,
        ),
    )
    with pytest.raises(ZeroDivisionError):
        cut()
    assert cut.state.exists()
    again = tuned(hub, tmp_path / "cut")
    again()
    one, two = (
        open_checkpoint(whole.target).tensors,
        open_checkpoint(again.target).tensors,
    )
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert (
        json.loads(again.target.with_suffix(".json").read_text())["training"][
            "first_step"
        ]
        == 10
    )


def test_a_state_of_another_recipe_is_refused(hub, tmp_path):
    run = tuned(hub, tmp_path)
    pupil = run.set_up()
    run.keep(pupil, run.recipe.make(pupil.parameters), 5)
    other = tuned(hub, tmp_path, "recipe.rate=1e-4")
    with pytest.raises(TadropError, match="another recipe"):
        other()


def test_finetuned_experts_merge_through_run(hub, tmp_path):
    for task in ("mnist", "eurosat"):
        tuned(hub, tmp_path, task=task)()
    records = f"paths.records={tmp_path / 'records'}"
    config = configured(hub, tmp_path, records, "merge=emr", "tadrop=on", name="config")
    record = runner.run(config)
    assert len(record["scores"]) == 2
    assert min(s["value"] for s in record["scores"]) > 0.5
    assert "offline cut" in record["protocol"]["tasks"]


def test_missing_experts_say_how_to_make_them(hub, tmp_path):
    with pytest.raises(
        TadropError,
        match=r"tadrop finetune model=dinov2_s14 task=mnist",
    ):
        runner.run(
            configured(hub, tmp_path, f"paths.records={tmp_path}", name="config")
        )


def test_batches_cover_an_epoch_and_depend_on_the_step_alone():
    recipe = FinetuneRecipe(
        "x", "adam", 10, 4, 1e-3, 0.0, 0, "constant", None, 0.05, False
    )
    rows = np.concatenate([batch_at(12, step, recipe, (0, "a")) for step in range(3)])
    assert sorted(rows) == list(range(12))
    assert (
        batch_at(12, 4, recipe, (0, "a")) == batch_at(12, 4, recipe, (0, "a"))
    ).all()
    assert [recipe.factor(s) for s in (0, 9)] == [1.0, 1.0]
    warm = FinetuneRecipe("x", "adam", 12, 4, 1e-3, 0.0, 2, "cosine", None, 0.05, False)
    assert [round(warm.factor(s), 3) for s in (0, 1, 2, 7, 12)] == [
        0.5,
        1.0,
        1.0,
        0.5,
        0.0,
    ]
    absent = [
        "x",
        "torch.optim.Lion",
        10,
        4,
        1e-3,
        0.0,
        0,
        "constant",
        None,
        0.05,
        False,
    ]
    with pytest.raises(TadropError, match=r"recipe\.optimizer=torch\.optim\.Lion"):
        FinetuneRecipe(*absent).make([])
    with pytest.raises(TadropError, match="sgd"):
        FinetuneRecipe("x", "sgd", 10, 4, 1e-3, 0.0, 0, "constant", None, 0.05, False)


def test_sams_step_is_of_length_rho_along_the_gradient():
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    parameter.grad = torch.tensor([3.0, 4.0])
    (step,) = climb([parameter], 0.5)
    torch.testing.assert_close(parameter.data, torch.tensor([1.3, 2.4]))
    torch.testing.assert_close(step, torch.tensor([0.3, 0.4]))


def test_a_fitted_head_separates_what_is_separable():
    labels = torch.arange(60) % 3
    features = (
        torch.randn(60, 5, generator=torch.Generator().manual_seed(0)).double()
        + 8 * torch.eye(5)[labels]
    )
    head = fit_head(features, labels, 3)
    logits = features.float() @ head["head.weight"].T + head["head.bias"]
    assert (logits.argmax(1) == labels).all()
    assert 1 < logits.std() < 20


@pytest.mark.parametrize("kind", ["dinov2", "vit"])
def test_tensor_names_are_those_that_the_library_writes(tmp_path, kind):
    """Its own names for the modules change from version to version; files keep theirs."""
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        ViTConfig,
        ViTForImageClassification,
    )

    sizes = {k: v for k, v in TINY.items() if k not in ("image_size", "patch_size")}
    shape = {"image_size": 28, "patch_size": 14}
    made = (
        Dinov2Model(Dinov2Config(**TINY))
        if kind == "dinov2"
        else ViTForImageClassification(
            ViTConfig(**sizes, **shape, intermediate_size=64, num_labels=3)
        )
    )
    made.save_pretrained(tmp_path)
    written = set(open_checkpoint(tmp_path).tensors)
    encoder = made if kind == "dinov2" else made.vit
    prefix, heads = (
        ("", set())
        if kind == "dinov2"
        else ("vit.", {"classifier.weight", "classifier.bias"})
    )
    assert {
        prefix + file_name(name) for name, _ in encoder.named_parameters()
    } == written - heads


@pytest.mark.parametrize("projection", ["frozen", "merged"])
def test_clip_is_fine_tuned_and_what_came_out_merges(
    clip_hub, tmp_path, monkeypatch, projection
):
    """The command of the README on a tiny CLIP: the zero-shot head stays, the tower moves, TADrop
    merges the result.
    """
    places = [
        f"paths.hub={clip_hub}",
        f"paths.cache={clip_hub / 'cache'}",
        f"paths.experts={tmp_path / 'experts'}",
    ]
    words = [
        "model=vit_b32",
        f"model.architecture={clip_hub / 'tiny.json'}",
        "model.preprocess.size=32",
        "device=cpu",
    ]
    words += [
        *places,
        f"model.projection={projection}",
        "tasks.names=[mnist,eurosat]",
        "tasks.strict=false",
    ]
    steps = ["recipe=small", "recipe.steps=4", "recipe.warmup=1", "recipe.rate=1e-3"]
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("finetune", spelled([*words, *steps]))
    config = OmegaConf.to_container(cfg, resolve=True)
    suite = build.tasks(config["tasks"])
    backbone = build.model(config["model"]).bound(suite)
    base = backbone.open_base()
    for task in suite.names:
        run = Run(cfg, backbone, suite, task)
        run()
        written = open_checkpoint(run.target).tensors
        assert set(written) == set(base.tensors)  # no head: it is made from class names
        assert ("visual_projection.weight" in written) == (projection == "merged")
        for part in "qkv":
            name = f"vision_model.encoder.layers.1.self_attn.{part}_proj.weight"
            assert not torch.equal(written[name], base[name])
    here = [
        "model.source=local",
        f'model.sources.local="{tmp_path}/experts/vit_b32/{{task}}.safetensors"',
    ]
    with initialize_config_dir(CONF, version_base="1.3"):
        merging = compose(
            "config",
            [*words, *here, f"paths.records={tmp_path}", "merge=ties", "tadrop=on"],
        )
    record = runner.run(merging)
    assert len(record["scores"]) == 2
    assert 0 < record["density"] < 1
