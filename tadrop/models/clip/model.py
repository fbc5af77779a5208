"""CLIP vision transformers from public checkpoints, with zero-shot heads that are made
from class names.

The base is OpenAI's model in its Hugging Face packaging, the forward pass is
open_clip's (with QuickGELU, which the weights were trained with). Experts come from one
of four sources; whatever their packaging, a run works in one layout: see clip_names. A
tower's projection is merged where the experts carry their own (the open_clip lineage
trains it); where they do not, the base's is used frozen, as part of the head. Heads are
never merged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.models.clip import zeroshot
from tadrop.models.clip.names import (
    LAYOUTS,
    PROJECTION,
    Lazy,
    Pair,
    convert,
    depth,
    layout_of,
    leftover_pairs,
    matrices,
    normalise,
    refuse_extra,
    split_places,
    text_pairs,
    vision_pairs,
)
from tadrop.storage import hub as hubs
from tadrop.storage.checkpoint import Checkpoint
from tadrop.storage.legacy import open_any
from tadrop.types import TadropError
from tadrop.vectors.names import is_private

HEAD, FROZEN = "head.weight", "head.projection"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ZeroShot(nn.Module):
    """features [batch, embedding], of any length -> 100 x cosine to each class [batch,
    classes].
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(0, 0), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return 100 * F.normalize(features, dim=-1) @ self.weight.T


class Classifier(nn.Module):
    """images -> 100 x cosine to each class [batch, classes].

    Images are uint8 [batch, height, width, 3] as the cache holds them, or float [batch,
    3, height, width] normalised.
    """

    def __init__(
        self, visual: nn.Module, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.visual = visual
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.head = ZeroShot()
        self.leftovers: dict[str, Tensor] = {}

    def features(self, images: Tensor) -> Tensor:
        """The projected class token [batch, embedding], not normalised: what the
        authors' adapters read.
        """
        if images.dtype == torch.uint8:
            images = (
                images.permute(0, 3, 1, 2)
                .float()
                .div(255)
                .sub_(self.mean)
                .div_(self.std)
            )
        return self.visual(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@lru_cache(maxsize=8)
def configuration(architecture: str) -> dict[str, Any]:
    """open_clip's description of a model: one of its names, or a JSON file of the same
    form.
    """
    import json

    import open_clip

    if architecture.endswith(".json"):
        try:
            return json.loads(Path(architecture).read_text())
        except (OSError, ValueError) as error:
            raise TadropError(f"model.architecture={architecture}: {error}") from error
    found = open_clip.get_model_config(architecture)
    if found is None:
        raise TadropError(
            f"model.architecture={architecture}: open_clip has no such model; ViT-B-32-quickgelu is one"
        )
    return found


@dataclass(frozen=True)
class Clip:
    """One CLIP architecture, its base, and its experts in one of several packagings.

    sources: per word a template of the experts' place on the hub or on disk; {hub},
             {tall} and {task} are the task's names in the two lineages and in the suite
    layout:  split | fused, see clip_names
    projection: merged | frozen | auto, whichever the experts' files imply
    leftovers: whether never-trained text tensors, which some files carry, count as
    entries of a task vector
    """

    name: str
    architecture: str
    base: str
    source: str
    sources: Mapping[str, str | None]
    layout: str
    preprocess: Mapping[str, Any]
    projection: str = "auto"
    leftovers: bool = False
    keeps_heads = False  # an expert's file has no head: it is made from class names
    head_module = "head"
    base_revision: str | None = None
    hub_dir: str | None = None
    cache: str | None = None
    private: Sequence[str] = ("head.*",)
    tasks: Any = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise TadropError(
                f"model.layout is {self.layout!r}; it must be {' or '.join(LAYOUTS)}"
            )
        if self.projection not in ("auto", "merged", "frozen"):
            raise TadropError(
                f"model.projection is {self.projection!r}; it must be auto, merged or frozen"
            )
        if self.source not in self.sources:
            raise TadropError(
                f"model.source is {self.source!r}; there are {', '.join(self.sources)}"
            )
        if self.sources[self.source] is None:
            raise TadropError(
                f"model.source={self.source} needs a place, quoted so: 'model.sources.{self.source}=\"DIR/{{task}}\"'"
            )

    def bound(self, tasks: Any) -> "Clip":
        """This backbone for these tasks: their names in each lineage and their class
        names.
        """
        if not hasattr(tasks, "entry"):
            raise TadropError(
                f"model={self.name} needs tasks of images with class names, such as tasks=vision8"
            )
        return replace(self, tasks=tasks)

    @property
    def config(self) -> dict[str, Any]:
        return configuration(self.architecture)

    @property
    def layers(self) -> int:
        return self.config["vision_cfg"]["layers"]

    @cached_property
    def _projects(self) -> bool:
        """Whether the projection is merged: if the experts carry their own, unless the
        configuration says so.
        """
        if self.projection != "auto":
            return self.projection == "merged"
        first = self._raw_expert(self.tasks.names[0])
        return any(name in first.tensors for name in PROJECTION.values())

    @property
    def matrices(self) -> list[dict[str, Any]]:
        """What per-matrix methods are told, in the run's layout."""
        return matrices(self.layout, self._projects)

    @property
    def pairs(self) -> list[Pair]:
        """Every tensor that is merged."""
        return vision_pairs(self.layers, self._projects) + (
            leftover_pairs() if self.leftovers else []
        )

    @cached_property
    def _raw_base(self) -> Checkpoint:
        return self._raw(
            hubs.model(
                self.base, self.hub_dir, f"model={self.name}", self.base_revision
            )
        )

    def _raw_expert(self, task: str) -> Checkpoint:
        entry = self.tasks.entry(task)
        place = self.sources[self.source].format(
            hub=entry.hub, tall=entry.tall, task=task
        )
        return self._raw(
            hubs.model(
                place,
                self.hub_dir,
                f"model={self.name} source={self.source} task={task}",
            )
        )

    def _raw(self, path: Path) -> Checkpoint:
        found = open_any(path)
        # the suite's own exports carry heads, which are made anew
        tower = {
            name: tensor
            for name, tensor in found.tensors.items()
            if not is_private(name, self.private)
        }
        return Checkpoint(found.path, found.files, normalise(tower))

    def open_base(self) -> Checkpoint:
        """The base's merged tensors in the run's layout."""
        raw = self._raw_base
        return Checkpoint(
            raw.path, raw.files, convert(raw.tensors, self.pairs, self.layout, raw.path)
        )

    def open_expert(self, task: str) -> Checkpoint:
        """A task's tensors in the run's layout, and its head."""
        raw = self._raw_expert(task)
        self._check(raw)
        merged = convert(raw.tensors, self.pairs, self.layout, raw.path)
        private = {HEAD: lambda: self.head(task)} | (
            {} if self._projects else {FROZEN: lambda: self._projection}
        )
        return Checkpoint(
            raw.path,
            raw.files,
            Lazy({n: lambda n=n: merged[n] for n in merged} | private),
        )

    def _check(self, raw: Checkpoint) -> None:
        have = layout_of(raw.tensors, raw.path)
        layers = depth(
            raw.tensors,
            "vision_model.encoder.layers."
            if have == "split"
            else "visual.transformer.resblocks.",
        )
        if layers != self.layers:
            raise TadropError(
                f"{raw.path}: a vision tower of {layers} layers; model={self.name} has {self.layers}"
            )
        text = text_pairs(self.config["text_cfg"]["layers"])
        refuse_extra(raw.tensors, [*vision_pairs(layers, True), *text], have, raw.path)

    @cached_property
    def _projection(self) -> Tensor:
        """The base's projection [width, embedding]."""
        pair = Pair(PROJECTION["fused"], (PROJECTION["split"],))
        return convert(self._raw_base.tensors, [pair], "fused", self._raw_base.path)[
            pair.fused
        ]

    def head(self, task: str) -> Tensor:
        """The zero-shot head of a task [classes, embedding], from the cache or the text
        tower.
        """
        entry = self.tasks.entry(task)
        raw, text = self._raw_base, text_pairs(self.config["text_cfg"]["layers"])
        return zeroshot.head(
            self.config,
            lambda: convert(raw.tensors, text, "fused", raw.path),
            raw.fingerprint,
            self.tasks.classes(task),
            entry.templates,
            Path(self.cache) if self.cache else None,
        )

    def published(self) -> dict[str, float]:
        """Accuracies in percent that the source's authors report for the individual
        models, by task.
        """
        return self.tasks.published(self.source, self.name)

    def private_tensors(self, checkpoint: Checkpoint) -> dict[str, Tensor]:
        """A task's head, and the frozen projection that goes with it."""
        names = [
            n
            for n in checkpoint.tensors
            if any(fnmatchcase(n, pattern) for pattern in self.private)
        ]
        return {name: checkpoint[name] for name in names}

    def build(self) -> Classifier:
        """The module with memory but without weights: every one of its tensors is
        installed from the base.
        """
        import open_clip

        with torch.device("meta"):
            visual = open_clip.model.CLIP(**self.config).visual
        module = Classifier(
            visual.to_empty(device="cpu"),
            self.preprocess["mean"],
            self.preprocess["std"],
        )
        if self.leftovers:
            module.leftovers = {
                p.fused: torch.empty_like(t) for p, t in self._text_leftovers()
            }
        return module

    def _text_leftovers(self) -> list[tuple[Pair, Tensor]]:
        found = convert(
            self._raw_base.tensors, leftover_pairs(), "fused", self._raw_base.path
        )
        return [(pair, found[pair.fused]) for pair in leftover_pairs()]

    def first_head(
        self, module: Classifier, images: Tensor, labels: Tensor, task: str
    ) -> dict[str, Tensor]:
        """The zero-shot head, whatever the images."""
        return {HEAD: self.head(task)} | (
            {} if self._projects else {FROZEN: self._projection}
        )

    def places(self, module: Classifier) -> dict[str, Tensor]:
        """Where each tensor of a checkpoint goes: the module's own, or views of their
        q, k and v.
        """
        own = dict(module.named_parameters()) | module.leftovers
        if self.layout == "split":
            own = split_places(own, self.pairs)
        return {
            name: own[name] for pair in self.pairs for name in pair.names(self.layout)
        }

    def equip(self, module: Classifier, private: Mapping[str, Tensor]) -> None:
        """Puts a task's head in, and the frozen projection if there is one."""
        module.head.weight = private[HEAD].to(module.visual.proj)
        if FROZEN in private:
            module.visual.proj.data.copy_(private[FROZEN])
