"""A CLIP of two layers, its experts in the exact formats of every public source, and
data sets in the hub's layout.
"""

import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

CONFIG = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 128,
        "patch_size": 16,
        "head_width": 64,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 2,
    },
}
TASKS = {
    "mnist": "ylecun/mnist",
    "eurosat": "tanganke/eurosat",
    "fer2013": "clip-benchmark/wds_fer2013",
}
CLASSES = {"mnist": 10, "eurosat": 10, "fer2013": 7}
BASE = "openai/clip-vit-base-patch32"


def hf_clip(seed: int = 0) -> "transformers.CLIPModel":
    """The tiny model as transformers builds it, with weights that are not at their
    initial scale.
    """
    from transformers import CLIPConfig, CLIPModel

    text = {
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = CLIPConfig(
        text_config=text | {"eos_token_id": 49407, "bos_token_id": 49406},
        vision_config=vision | {"image_size": 32, "patch_size": 16},
        projection_dim=32,
    )
    torch.manual_seed(seed)
    model = CLIPModel(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model


def moved(
    state: Mapping[str, Tensor],
    seed: int,
    only: Callable[[str], bool] = lambda name: True,
) -> dict[str, Tensor]:
    """A fine-tuned copy: a small random step on the chosen tensors."""
    generator = torch.Generator().manual_seed(seed)
    step = {
        n: 0.02 * torch.randn(t.shape, generator=generator)
        for n, t in sorted(state.items())
    }
    return {n: t + step[n] if only(n) else t.clone() for n, t in state.items()}


def vision_state(model: nn.Module) -> dict[str, Tensor]:
    """The vision tower in version 4 names, as the hub's files have them."""
    state = {
        n: t for n, t in model.state_dict().items() if n.startswith("vision_model.")
    }
    return {n: t for n, t in state.items() if t.is_floating_point()}


def encoder_state(model: nn.Module, seed: int | None = None) -> dict[str, Tensor]:
    """open_clip's state dict of the same weights by a rule of its own, text transformer
    left out;
    None: the base.
    """
    state = (
        model.state_dict()
        if seed is None
        else dict(model.state_dict()) | moved(vision_state(model), seed)
    )
    clip = open_clip.model.CLIP(**CONFIG)
    out = {}
    for name in clip.state_dict():
        if name.startswith("transformer."):
            continue
        out[name] = by_hand(name, state)
    return out


def by_hand(name: str, state: Mapping[str, Tensor]) -> Tensor:
    """One open_clip tensor from transformers' ones, written without the library under
    test.
    """
    direct = {
        "visual.proj": lambda: state["visual_projection.weight"].T.contiguous(),
        "text_projection": lambda: state["text_projection.weight"].T.contiguous(),
        "logit_scale": lambda: state["logit_scale"],
        "token_embedding.weight": lambda: state[
            "text_model.embeddings.token_embedding.weight"
        ],
        "positional_embedding": lambda: state[
            "text_model.embeddings.position_embedding.weight"
        ],
        "ln_final.weight": lambda: state["text_model.final_layer_norm.weight"],
        "ln_final.bias": lambda: state["text_model.final_layer_norm.bias"],
        "visual.class_embedding": lambda: state[
            "vision_model.embeddings.class_embedding"
        ],
        "visual.positional_embedding": lambda: state[
            "vision_model.embeddings.position_embedding.weight"
        ],
        "visual.conv1.weight": lambda: state[
            "vision_model.embeddings.patch_embedding.weight"
        ],
        "visual.ln_pre.weight": lambda: state["vision_model.pre_layrnorm.weight"],
        "visual.ln_pre.bias": lambda: state["vision_model.pre_layrnorm.bias"],
        "visual.ln_post.weight": lambda: state["vision_model.post_layernorm.weight"],
        "visual.ln_post.bias": lambda: state["vision_model.post_layernorm.bias"],
    }
    if name in direct:
        return direct[name]().clone()
    layer, rest = name.removeprefix("visual.transformer.resblocks.").split(".", 1)
    at = f"vision_model.encoder.layers.{layer}."
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        return torch.cat([state[f"{at}self_attn.{part}_proj.{kind}"] for part in "qkv"])
    for ours, theirs in (
        ("ln_", "layer_norm"),
        ("attn.out_proj", "self_attn.out_proj"),
    ):
        rest = rest.replace(ours, theirs)
    return state[
        at + rest.replace("mlp.c_fc", "mlp.fc1").replace("mlp.c_proj", "mlp.fc2")
    ].clone()


def image_encoder(state: Mapping[str, Tensor]) -> nn.Module:
    """A whole ImageEncoder as the task_vectors code pickled it; its class exists only
    while it is being written.
    """
    module = ModuleType("src.modeling")

    class ImageEncoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = open_clip.model.CLIP(**CONFIG)
            delattr(self.model, "transformer")
            self.train_preprocess = open_clip.image_transform(32, is_train=False)
            self.cache_dir = "somewhere"

    ImageEncoder.__module__, ImageEncoder.__qualname__ = "src.modeling", "ImageEncoder"
    module.ImageEncoder = ImageEncoder
    sys.modules.update({"src": ModuleType("src"), "src.modeling": module})
    encoder = ImageEncoder()
    encoder.model.load_state_dict(dict(state))
    return encoder


def forget_encoder() -> None:
    """After this, nothing can import what the pickle names."""
    sys.modules.pop("src.modeling", None)
    sys.modules.pop("src", None)


def write_base(hub: Path, model: nn.Module) -> None:
    model.save_pretrained(hub / "models" / BASE)


def write_experts(hub: Path, model: nn.Module, source: str) -> None:
    """Every task's expert in a source's own format; the same weights whatever the
    source, projections aside.
    """
    for seed, task in enumerate(TASKS, start=1):
        if source == "hub":
            folder = hub / "models" / f"tanganke/clip-vit-base-patch32_{task}"
            folder.mkdir(parents=True)
            save_file(moved(vision_state(model), seed), folder / "model.safetensors")
            continue
        tall = {"mnist": "MNIST", "eurosat": "EuroSAT", "fer2013": "FER2013"}[task]
        state = encoder_state(model, seed)
        if source == "tall_masks":
            file = (
                hub
                / f"models/nik-dim/tall_masks/single_task/ViT-B-32/{tall}Val/nonlinear_finetuned.pt"
            )
            file.parent.mkdir(parents=True)
            torch.save(
                {f"model.{n}": t for n, t in state.items()}
                | {"model_name": "ViT-B-32"},
                file,
            )
        else:
            file = hub / f"models/task_vectors/checkpoints/ViT-B-32/{tall}/finetuned.pt"
            file.parent.mkdir(parents=True)
            torch.save(image_encoder(state), file)
            forget_encoder()


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def write_dataset(hub: Path, task: str, count: int = 40, train: int = 60) -> None:
    """A data set in the hub's layout, with the columns that the real one has."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    image, label = ("jpg", "cls") if task == "fer2013" else ("image", "label")
    names = [f"class {i}" for i in range(CLASSES[task])]
    features = Features({image: ImageFeature(), label: ClassLabel(names=names)})
    for split, size in (("train", train), ("test", count)):
        rng = np.random.default_rng([len(task), size])
        shape = (28, 28) if task == "mnist" else (40, 52, 3)
        images = [
            {"bytes": png(rng.integers(0, 256, shape, dtype=np.uint8)), "path": None}
            for _ in range(size)
        ]
        labels = (np.arange(size) % CLASSES[task]).tolist()
        folder = hub / "datasets" / TASKS[task] / "data"
        folder.mkdir(parents=True, exist_ok=True)
        data = Dataset.from_dict({image: images, label: labels}, features=features)
        data.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def write_architecture(folder: Path) -> Path:
    file = folder / "tiny.json"
    file.write_text(json.dumps(CONFIG))
    return file
