"""Vision transformers of the transformers library with a linear head for each task:
DINOv2, and ViT classifiers.

The encoder is the library's own, built from the base's config.json; its tensors keep
the names of the base's file. A head reads the class token, or the class token beside
the mean patch token. Heads are private to their tasks: where `finetune` made the
experts, a head was fitted on the base's features and then frozen, as CLIP's zero-shot
heads are.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tadrop.storage import hub as hubs
from tadrop.storage.checkpoint import Checkpoint, open_checkpoint
from tadrop.types import TadropError
from tadrop.vectors.names import is_private

READOUTS = ("class", "class_and_mean")


class Probe(nn.Module):
    """images -> logits. Images are uint8 [batch, size, size, 3], or float [batch, 3,
    size, size] normalised.
    """

    def __init__(
        self,
        encoder: nn.Module,
        readout: str,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.readout = readout
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.head = nn.Linear(1, 1)

    def features(self, images: Tensor) -> Tensor:
        """What a head reads: [batch, width], or twice the width with the mean patch
        token.
        """
        if images.dtype == torch.uint8:
            images = (
                images.permute(0, 3, 1, 2)
                .float()
                .div(255)
                .sub_(self.mean)
                .div_(self.std)
            )
        tokens = self.encoder(pixel_values=images).last_hidden_state
        if self.readout == "class":
            return tokens[:, 0]
        return torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


# what transformers 5 calls tensors inside, and what it and version 4 write to files
SPELLINGS = {
    "attention.q_proj.": "attention.attention.query.",
    "attention.k_proj.": "attention.attention.key.",
    "attention.v_proj.": "attention.attention.value.",
    "attention.o_proj.": "attention.output.dense.",
}
VIT_SPELLINGS = {
    "layers.": "encoder.layer.",
    "mlp.fc1.": "intermediate.dense.",
    "mlp.fc2.": "output.dense.",
}


def file_name(name: str) -> str:
    """What files call a tensor of the library's ViT or DINOv2."""
    for inside, outside in (
        SPELLINGS | (VIT_SPELLINGS if name.startswith("layers.") else {})
    ).items():
        name = name.replace(inside, outside)
    return name


@dataclass(frozen=True)
class HfVision:
    """One encoder, its base and its experts.

    base:    org/name on the hub (or under paths.hub), with config.json beside the weights
    experts: the place of a task's checkpoint; {task} is its name
    prefix:  what the encoder's tensors are called beyond the encoder's own names (`vit.` in a ViT classifier's file)
    head:    what the head's tensors are called in the experts' files
    readout: class | class_and_mean
    """

    name: str
    base: str
    experts: str | None
    preprocess: Mapping[str, Any]
    readout: str
    prefix: str = ""
    head: str = "head"
    private: Sequence[str] = ("head.*",)
    matrices: Sequence[Mapping[str, Any]] = ()
    hub_dir: str | None = None
    tasks: Any = None
    keeps_heads = True  # an expert's file has its head
    head_module = "head"  # whatever files call it

    def __post_init__(self) -> None:
        if self.readout not in READOUTS:
            raise TadropError(
                f"model.readout is {self.readout!r}; it must be {' or '.join(READOUTS)}"
            )

    def bound(self, tasks: Any) -> "HfVision":
        """This backbone for these tasks, of which it needs no more than images."""
        if not hasattr(tasks, "entry"):
            raise TadropError(
                f"model={self.name} needs tasks of images, such as tasks=offline8 or tasks=vision8"
            )
        return replace(self, tasks=tasks)

    def published(self) -> dict[str, float]:
        """Accuracies in percent that the experts' authors report, by task."""
        return self.tasks.published("vision30", self.name)

    @cached_property
    def _base_file(self) -> Path:
        return hubs.model(self.base, self.hub_dir, f"model={self.name}")

    def _config(self) -> Any:
        from transformers import AutoConfig

        folder = self._base_file if self._base_file.is_dir() else self._base_file.parent
        if not (folder / "config.json").is_file():
            hubs.model(f"{self.base}/config.json", self.hub_dir, f"model={self.name}")
        try:
            known = json.loads((folder / "config.json").read_text())
            return AutoConfig.for_model(known.pop("model_type"), **known)
        except (OSError, ValueError, KeyError) as error:
            raise TadropError(
                f"{folder / 'config.json'}: not a model configuration ({error})"
            ) from error

    def _renamed(self, checkpoint: Checkpoint) -> Checkpoint:
        """Encoder tensors without the prefix, the head's as head.*."""
        tensors = {}
        for name, tensor in checkpoint.tensors.items():
            if name.startswith(f"{self.head}."):
                tensors["head." + name.removeprefix(f"{self.head}.")] = tensor
            else:
                tensors[name.removeprefix(self.prefix)] = tensor
        return Checkpoint(
            checkpoint.path, checkpoint.files, dict(sorted(tensors.items()))
        )

    def open_base(self) -> Checkpoint:
        opened = self._renamed(open_checkpoint(self._base_file))
        tensors = {
            n: t
            for n, t in opened.tensors.items()
            if not n.startswith(("head.", "pooler."))
        }
        return Checkpoint(opened.path, opened.files, tensors)

    def open_expert(self, task: str) -> Checkpoint:
        if self.experts is None:
            raise TadropError(
                f"model={self.name} has no experts yet; make them with python -m tadrop.app.verbs.finetune"
            )
        where = hubs.local("models", self.experts.format(task=task), self.hub_dir)
        if where is None:
            make = f"python -m tadrop.app.verbs.finetune model={self.name} task={task}"
            raise TadropError(
                f"no expert at {self.experts.format(task=task)}; make it with {make}, or set model.experts"
            )
        return self._renamed(open_checkpoint(where))

    def private_tensors(self, checkpoint: Checkpoint) -> dict[str, Tensor]:
        """The tensors of an expert that are never merged."""
        return {
            n: t for n, t in checkpoint.tensors.items() if is_private(n, self.private)
        }

    def build(self) -> Probe:
        """The module; every tensor that is merged is installed from the base."""
        from transformers import AutoModel

        config = self._config()
        encoder = AutoModel.from_config(
            config, attn_implementation="sdpa", dtype=torch.float32
        )  # files may be half
        return Probe(
            encoder, self.readout, self.preprocess["mean"], self.preprocess["std"]
        )

    def places(self, module: Probe) -> dict[str, Tensor]:
        """Where each tensor of a checkpoint goes, under the names that files have,
        whatever the library calls them.
        """
        return {
            file_name(name): parameter
            for name, parameter in module.encoder.named_parameters()
        }

    def equip(self, module: Probe, private: Mapping[str, Tensor]) -> None:
        """Puts a task's head in: head.weight [classes, features], head.bias [classes]."""
        weight = private["head.weight"].float()
        bias = (
            private["head.bias"].float()
            if "head.bias" in private
            else torch.zeros(len(weight))
        )
        device = module.mean.device
        module.head = nn.Linear(
            weight.shape[1], weight.shape[0], device=device
        ).requires_grad_(False)
        module.head.load_state_dict({"weight": weight, "bias": bias})

    def first_head(
        self, module: Probe, images: Tensor, labels: Tensor, task: str
    ) -> dict[str, Tensor]:
        """A head for a task that has none yet: ridge regression to the classes on the
        base's features.
        """
        with torch.inference_mode():
            features = torch.cat(
                [
                    module.features(part.to(module.mean.device))
                    for part in images.split(250)
                ]
            )
        return fit_head(features.double().cpu(), labels, len(self.tasks.classes(task)))


def fit_head(
    features: Tensor, labels: Tensor, classes: int, ridge: float = 1e-2
) -> dict[str, Tensor]:
    """Least squares to one-hot targets on standardised features, scaled so that a
    softmax is neither flat nor sharp.

    features [n, width] float64 -> head.weight [classes, width], head.bias [classes]
    float32.
    """
    mean, std = features.mean(0), features.std(0).clamp_min(1e-6)
    x = (features - mean) / std
    y = torch.nn.functional.one_hot(labels.cpu(), classes).to(x) - 1 / classes
    gram = x.T @ x + ridge * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, x.T @ (y - y.mean(0))).T
    weight = weight * (10.0 / (x @ weight.T).std().clamp_min(1e-6) / 3) / std
    return {"head.weight": weight.float(), "head.bias": (-(weight @ mean)).float()}
