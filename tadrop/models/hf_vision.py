"""Vision transformers of the transformers library with a linear head for each task.

They are DINOv2 and ViT classifiers. The encoder is the library's own, built from the
base's config.json; its tensors keep the names of the base's file. A head reads the class
token, or the class token beside the mean patch token. Heads are private to their tasks:
where `finetune` made the experts, a head was fitted on the base's features and then
frozen, as CLIP's zero-shot heads are.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from tadrop.models.model import Model, Trainable
from tadrop.models.pixels import Normalise
from tadrop.models.private import PrivateTensors
from tadrop.protocols.tasks import ImageTasks, Tasks
from tadrop.storage import hub as hubs
from tadrop.storage.checkpoint import Checkpoint, first_line, open_checkpoint
from tadrop.types import TadropError

READOUTS = ("class", "class_and_mean")
AT_ONCE = 250  # images of a forward pass while a head is fitted
POOLER = "pooler"  # a layer that no head here reads


class Probe(nn.Module):
    """images -> logits.

    Images are uint8 [batch, size, size, 3], or float [batch, 3, size, size] normalised.
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
        self.normalise = Normalise(mean, std)
        self.head = nn.Linear(1, 1)

    def features(self, images: Tensor) -> Tensor:
        """What a head reads: [batch, width], or twice the width with the mean patch."""
        output = self.encoder(pixel_values=self.normalise(images))
        tokens = output.last_hidden_state
        if self.readout == "class":
            return tokens[:, 0]
        return torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


# What transformers 5 calls tensors inside, and what it and version 4 write to files.
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
    spellings = SPELLINGS | VIT_SPELLINGS if name.startswith("layers.") else SPELLINGS
    for inside, outside in spellings.items():
        name = name.replace(inside, outside)
    return name


@dataclass(frozen=True)
class HfVision:
    """One encoder, its base and its experts; see Model and Trainable.

    base:    org/name on the hub (or under paths.hub), config.json beside the weights
    experts: the place of a task's checkpoint; {task} is its name
    prefix:  what the encoder's tensors are called beyond the encoder's own names (`vit.`
             in a ViT classifier's file)
    head:    what the head's tensors are called in the experts' files
    readout: class | class_and_mean
    private: patterns of tensors that are the tasks' own, or that no forward pass reads
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
    tasks: ImageTasks | None = None

    def __post_init__(self) -> None:
        if self.readout not in READOUTS:
            raise TadropError(
                f"model.readout is {self.readout!r}; it must be {' or '.join(READOUTS)}"
            )

    @property
    def keeps_heads(self) -> bool:
        """An expert's file has its head."""
        return True

    @property
    def head_module(self) -> str:
        """The module's name for the head, whatever files call it."""
        return "head"

    @property
    def own_tasks(self) -> None:
        """The tasks are those of `tasks=`."""

    def bound(self, tasks: Tasks) -> "HfVision":
        """This model for these tasks, which must be of images."""
        if not isinstance(tasks, ImageTasks):
            raise TadropError(
                f"model={self.name} needs tasks of images, "
                "such as tasks=offline8 or tasks=vision8"
            )
        return replace(self, tasks=tasks)

    @property
    def _bound_tasks(self) -> ImageTasks:
        if self.tasks is None:
            raise RuntimeError("bound(tasks) comes first")
        return self.tasks

    def published(self) -> dict[str, float]:
        """Accuracies in percent that the experts' authors report, by task."""
        return self._bound_tasks.published("vision30", self.name)

    @cached_property
    def _base_path(self) -> Path:
        return hubs.model(self.base, self.hub_dir, f"model={self.name}")

    def _config(self) -> Any:
        """The configuration beside the base, as the library's object."""
        from transformers import AutoConfig

        path = self._base_path
        file = (path if path.is_dir() else path.parent) / "config.json"
        if not file.is_file():
            hubs.model(f"{self.base}/config.json", self.hub_dir, f"model={self.name}")
        try:
            settings = json.loads(file.read_text())
            return AutoConfig.for_model(settings.pop("model_type"), **settings)
        except Exception as error:  # of many kinds, which all mean the same
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise TadropError(
                f"{file}: not a model configuration ({reason}); fetch the file again"
            ) from error

    def _renamed(self, checkpoint: Checkpoint) -> Checkpoint:
        """Encoder tensors without the prefix, the head's as head.*."""
        tensors: dict[str, Tensor] = {}
        for name, tensor in checkpoint.tensors.items():
            if name.startswith(f"{self.head}."):
                tensors["head." + name.removeprefix(f"{self.head}.")] = tensor
            else:
                tensors[name.removeprefix(self.prefix)] = tensor
        return replace(checkpoint, tensors=dict(sorted(tensors.items())))

    def open_base(self) -> Checkpoint:
        """The base's encoder: without the head of its own training, if it has any."""
        opened = self._renamed(open_checkpoint(self._base_path))
        tensors: dict[str, Tensor] = {}
        for name, tensor in opened.tensors.items():
            if not name.startswith(("head.", f"{POOLER}.")):
                tensors[name] = tensor
        return replace(opened, tensors=tensors)

    def open_expert(self, task: str) -> Checkpoint:
        """A task's encoder and head."""
        finetune = "tadrop finetune"
        if self.experts is None:
            raise TadropError(
                f"model={self.name} has no experts yet; make them with {finetune}"
            )
        place = self.experts.format(task=task)
        path = hubs.local("models", place, self.hub_dir)
        if path is None:
            raise TadropError(
                f"no expert at {place}; make it with {finetune} model={self.name} "
                f"task={task}, or set model.experts"
            )
        return self._renamed(open_checkpoint(path))

    def settled(
        self, base: Checkpoint, experts: Mapping[str, Checkpoint]
    ) -> "HfVision":
        """This model: `private` names all that is private."""
        return self

    def build(self) -> Probe:
        """The module, in float32 whatever the files are,
        without the library's pooler.
        """
        from transformers import AutoModel

        encoder = AutoModel.from_config(
            self._config(), attn_implementation="sdpa", dtype=torch.float32
        )
        if POOLER in dict(encoder.named_children()):
            encoder.pooler = None
        mean, std = self.preprocess["mean"], self.preprocess["std"]
        return Probe(encoder, self.readout, mean, std)

    def slots(self, module: Probe) -> dict[str, Tensor]:
        """Where each tensor of a checkpoint goes, under the names that files have."""
        slots: dict[str, Tensor] = {}
        for name, tensor in module.encoder.state_dict(keep_vars=True).items():
            slots[file_name(name)] = tensor
        for name, tensor in module.head.state_dict(keep_vars=True).items():
            slots[f"head.{name}"] = tensor
        return slots

    def equip(self, module: Probe, private: PrivateTensors) -> None:
        """Puts a task's head in: head.weight [classes, features],
        head.bias [classes].
        """
        weight, bias = private["head.weight"].float(), private["head.bias"].float()
        classes, features = weight.shape
        device = module.normalise.mean.device
        head = nn.Linear(features, classes, device=device)
        head.load_state_dict({"weight": weight, "bias": bias})
        module.head = head.requires_grad_(False)

    def first_head(
        self, module: Probe, images: Tensor, labels: Tensor, task: str
    ) -> dict[str, Tensor]:
        """A head for a task that has none yet, fitted on the base's features."""
        device = module.normalise.mean.device
        parts: list[Tensor] = []
        with torch.inference_mode():
            for part in images.split(AT_ONCE):
                parts.append(module.features(part.to(device)))
        features = torch.cat(parts).double().cpu()
        return fit_head(features, labels, len(self._bound_tasks.classes(task)))


def fit_head(
    features: Tensor, labels: Tensor, classes: int, ridge: float = 1e-2
) -> dict[str, Tensor]:
    """Ridge regression to one-hot targets on standardised features.

    The weights are scaled so that a softmax is neither flat nor sharp. features [n,
    width] float64 -> head.weight [classes, width], head.bias [classes] float32.
    """
    mean, std = features.mean(0), features.std(0).clamp_min(1e-6)
    x = (features - mean) / std
    y = one_hot(labels.cpu(), classes).to(x) - 1 / classes
    gram = x.T @ x + ridge * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, x.T @ (y - y.mean(0))).T
    spread = (x @ weight.T).std().clamp_min(1e-6)
    weight = weight * (10.0 / spread / 3) / std
    return {"head.weight": weight.float(), "head.bias": (-(weight @ mean)).float()}


_MODEL: type[Model] = HfVision  # a type checker compares all members
_TRAINABLE: type[Trainable] = HfVision
