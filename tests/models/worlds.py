"""Every kind of model on disk, tiny, with tensors to damage it by."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file, save_file

from tadrop.app.places import CONF
from tests import text_hub, tiny_beit3
from tests import tiny_clip as tiny
from tests.app import test_finetune
from tests.models import test_roberta, test_vit_linear

ASSETS = CONF.parent / "tadrop" / "assets" / "glyph_vit"


@dataclass(frozen=True)
class World:
    """A model on disk. words: its configuration's overrides.

    base, experts: the files to damage, the experts' by task
    """

    words: tuple[str, ...]
    base: Path
    experts: Mapping[str, Path]


def glyph_vit(root: Path) -> World:
    for file in ASSETS.glob("*.safetensors"):
        shutil.copy(file, root)
    words = (
        "tasks=glyph2",
        "model.verified=false",
        f"model.base={root}/base.safetensors",
        f'model.experts="{root}/{{task}}.safetensors"',
    )
    tasks = ("latin_upper", "greek_lower")
    experts = {task: root / f"{task}.safetensors" for task in tasks}
    return World(words, root / "base.safetensors", experts)


def gpt2(root: Path) -> World:
    text_hub.write(root)
    models = root / "models"
    words = ("model=gpt2", "tasks.strict=false", "tasks.names=[cola,rte]")
    experts = {}
    for task in ("cola", "rte"):
        experts[task] = models / f"tanganke/gpt2_{task}/model.safetensors"
    return World(words, models / "openai-community/gpt2/model.safetensors", experts)


def roberta(root: Path) -> World:
    test_roberta.write_hub(root)
    models = root / "models"
    words = ("model=roberta_base", "tasks.strict=false", "tasks.names=[cola,rte]")
    experts = {}
    for task in ("cola", "rte"):
        folder = f"vanillaOVO/roberta_base_glue_ckpts/{task}/roberta-base_lr1e-05"
        experts[task] = models / folder / "model.safetensors"
    return World(words, models / "FacebookAI/roberta-base/model.safetensors", experts)


def beit3(root: Path) -> World:
    pytest.importorskip("sentencepiece")
    folder = root / "models" / "beit3"
    tiny_beit3.write_models(folder)
    words = (
        "model=beit3",
        *tiny_beit3.SMALL,
        "tasks.strict=false",
        "tasks.names=[vqa,nlvr2]",
    )
    experts = {
        "vqa": folder / "beit3_base_patch16_480_vqa.pth",
        "nlvr2": folder / "beit3_base_patch16_224_nlvr2.pth",
    }
    return World(words, folder / "beit3_base_patch16_224.pth", experts)


CLIP_FILES = {
    "hub": "tanganke/clip-vit-base-patch32_{hub}/model.safetensors",
    "tall_masks": (
        "nik-dim/tall_masks/single_task/ViT-B-32/{tall}Val/nonlinear_finetuned.pt"
    ),
    "task_vectors": "task_vectors/checkpoints/ViT-B-32/{tall}/finetuned.pt",
}


def clip(root: Path, source: str, packaging: str) -> World:
    model = tiny.hf_clip()
    tiny.write_base(root, model)
    tiny.write_experts(root, model, source)
    for task in ("mnist", "eurosat"):
        tiny.write_dataset(root, task)
    words = (
        "model=vit_b32",
        f"model.architecture={tiny.write_architecture(root)}",
        "model.preprocess.size=32",
        f"model.source={source}",
        f"model.packaging={packaging}",
        "tasks.names=[mnist,eurosat]",
        "tasks.strict=false",
    )
    models, experts = root / "models", {}
    for task, tall in (("mnist", "MNIST"), ("eurosat", "EuroSAT")):
        experts[task] = models / CLIP_FILES[source].format(hub=task, tall=tall)
    return World(words, models / tiny.BASE / "model.safetensors", experts)


def dinov2(root: Path) -> World:
    test_finetune.write_hub(root)
    base = root / "models/extra/tiny/model.safetensors"
    experts = {}
    for seed, task in enumerate(("mnist", "eurosat")):
        torch.manual_seed(seed)
        head = {"head.weight": torch.randn(3, 64), "head.bias": torch.randn(3)}
        (root / "dinov2_s14").mkdir(exist_ok=True)
        experts[task] = root / f"dinov2_s14/{task}.safetensors"
        save_file(
            {n: t.float() for n, t in load_file(base).items()} | head, experts[task]
        )
    words = (
        "model=dinov2_s14",
        f"paths.experts={root}",
        "model.base=extra/tiny",
        "model.preprocess.size=28",
        "tasks.names=[mnist,eurosat]",
        "+tasks.entries.mnist={id:extra/mnist}",
        "+tasks.entries.eurosat={id:extra/eurosat}",
    )
    return World(words, base, experts)


def vit(root: Path) -> World:
    tasks = test_vit_linear.FEW[:2]
    test_vit_linear.write_hub(root, tasks)
    words = (
        "model=vit_b16_linear",
        f"tasks.names=[{','.join(tasks)}]",
        f"model.preprocess.size={test_vit_linear.SIDE}",
    )
    experts = {}
    for task in tasks:
        experts[task] = root / f"models/emr30/{task}/model.safetensors"
    base = root / "models/google/vit-base-patch16-224/model.safetensors"
    return World(words, base, experts)


@dataclass(frozen=True)
class Kind:
    """A model's world, and a tensor of the base, of an expert and of its head.

    The names are those that the files have.
    """

    write: Callable[[Path], World]
    base: str
    expert: str
    head: str | None


FC1 = "layers.1.mlp.fc1.weight"


KINDS = {
    "glyph_vit": Kind(glyph_vit, "blocks.3.fc1.bias", "blocks.3.fc1.bias", "head.bias"),
    "gpt2": Kind(gpt2, "h.1.ln_2.bias", "transformer.h.1.ln_2.bias", "score.weight"),
    "roberta": Kind(
        roberta,
        "roberta.encoder.layer.1.output.dense.bias",
        "roberta.encoder.layer.1.output.dense.bias",
        "classifier.out_proj.bias",
    ),
    "beit3": Kind(
        beit3,
        "beit3.encoder.layers.1.ffn.A.fc1.weight",
        "beit3.encoder.layers.1.ffn.A.fc1.weight",
        "head.norm2.bias",
    ),
    "clip hub split": Kind(
        lambda root: clip(root, "hub", "split"),
        f"vision_model.encoder.{FC1}",
        f"vision_model.encoder.{FC1}",
        None,
    ),
    "clip hub fused": Kind(
        lambda root: clip(root, "hub", "fused"),
        "vision_model.encoder.layers.1.self_attn.k_proj.bias",
        "vision_model.encoder.layers.1.self_attn.k_proj.bias",
        None,
    ),
    "clip tall_masks split": Kind(
        lambda root: clip(root, "tall_masks", "split"),
        "visual_projection.weight",
        "model.visual.proj",
        None,
    ),
    "clip tall_masks fused": Kind(
        lambda root: clip(root, "tall_masks", "fused"),
        "vision_model.embeddings.class_embedding",
        "model.visual.transformer.resblocks.0.attn.in_proj_weight",
        None,
    ),
    "dinov2": Kind(
        dinov2,
        "encoder.layer.1.mlp.fc1.weight",
        "encoder.layer.1.mlp.fc1.weight",
        "head.bias",
    ),
    "vit": Kind(
        vit,
        "vit.encoder.layer.1.output.dense.weight",
        "vit.encoder.layer.1.output.dense.weight",
        "classifier.bias",
    ),
}


TRAINED = ("dinov2", "vit", "clip hub split", "clip hub fused")


def configured(world: World, root: Path, name: str = "config", *overrides: str):
    places = (
        f"paths.hub={root}",
        f"paths.cache={root}/cache",
        "device=cpu",
    )
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, [*world.words, *places, *overrides])
