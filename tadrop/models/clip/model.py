"""CLIP vision transformers from public checkpoints, with heads made from class names.

The base is OpenAI's model in its Hugging Face packaging, the forward pass is
open_clip's (with QuickGELU, which the weights were trained with). Experts come from one
of four sources; whatever their packaging, a run works in one: see tadrop.models.clip.names.
A tower's projection is merged where the experts carry their own (the open_clip lineage
trains it); where they do not, the base's is used frozen, as part of the head. Heads are
never merged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tadrop.models.clip import zeroshot
from tadrop.models.clip.architecture import configuration, empty_tower
from tadrop.models.clip.classifier import Classifier
from tadrop.models.clip.convert import (
    Lazy,
    check_tower,
    convert,
    normalise,
    split_slots,
)
from tadrop.models.clip.names import (
    PACKAGINGS,
    PROJECTION,
    PROJECTION_PAIR,
    Pair,
    leftover_pairs,
    matrices,
    text_pairs,
    vision_pairs,
)
from tadrop.models.clip.places import check_published, places
from tadrop.models.model import Model, Trainable
from tadrop.models.private import PrivateTensors
from tadrop.protocols.tasks import ImageTasks, Tasks
from tadrop.storage import hub as hubs
from tadrop.storage.checkpoint import Checkpoint
from tadrop.storage.legacy import open_any
from tadrop.types import TadropError
from tadrop.vectors.names import is_private

HEAD, FROZEN = "head.weight", "head.projection"
PROJECTIONS = ("auto", "merged", "frozen")


@dataclass(frozen=True)
class Clip:
    """One CLIP architecture, its base and its experts; see Model and Trainable.

    sources:    by word a template of the experts' place on the hub or on disk; {hub},
                {tall} and {task} are the task's names in the two lineages and in the suite
    packaging:  split | fused, see tadrop.models.clip.names
    projection: merged | frozen | auto, whichever the experts' files imply
    leftovers:  whether never-trained text tensors, which some files carry, count as
                entries of a task vector
    """

    name: str
    architecture: str
    base: str
    source: str
    sources: Mapping[str, str | None]
    packaging: str
    preprocess: Mapping[str, Any]
    projection: str = "auto"
    leftovers: bool = False
    base_revision: str | None = None
    hub_dir: str | None = None
    cache: str | None = None
    private: Sequence[str] = ("head.*",)
    tasks: ImageTasks | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check("packaging", self.packaging, PACKAGINGS)
        _check("projection", self.projection, PROJECTIONS)
        if self.source not in self.sources:
            raise TadropError(
                f"model.source is {self.source!r}; there are {', '.join(self.sources)}"
            )
        if self.sources[self.source] is None:
            raise TadropError(
                f"model.source={self.source} needs a place, quoted so: "
                f"'model.sources.{self.source}=\"DIR/{{task}}\"'"
            )

    @property
    def keeps_heads(self) -> bool:
        """An expert's file has no head: it is made from class names."""
        return False

    @property
    def head_module(self) -> str:
        """The submodule whose input is a task's features."""
        return "head"

    @property
    def own_tasks(self) -> None:
        """The tasks are those of `tasks=`."""

    def bound(self, tasks: Tasks) -> "Clip":
        """This model for these tasks: their names in each lineage, their class names."""
        if not isinstance(tasks, ImageTasks):
            raise TadropError(
                f"model={self.name} needs tasks of images with class names, "
                "such as tasks=vision8"
            )
        check_published(self.name, self.source, tasks)
        return replace(self, tasks=tasks)

    @property
    def _bound_tasks(self) -> ImageTasks:
        if self.tasks is None:
            raise RuntimeError("bound(tasks) comes first")
        return self.tasks

    @property
    def config(self) -> dict[str, Any]:
        """open_clip's description of the architecture."""
        return configuration(self.architecture)

    @property
    def layers(self) -> int:
        """Of the vision tower."""
        return self.config["vision_cfg"]["layers"]

    @property
    def text_layers(self) -> int:
        """Of the text tower."""
        return self.config["text_cfg"]["layers"]

    @cached_property
    def _projects(self) -> bool:
        """Whether the projection is merged.

        Where `projection` does not say, it is if the experts carry their own.
        """
        if self.projection != "auto":
            return self.projection == "merged"
        return _has_projection(self._raw_expert(self._bound_tasks.names[0]))

    @property
    def matrices(self) -> list[dict[str, Any]]:
        """What per-matrix methods are told, in the run's packaging."""
        return matrices(self.packaging, self._projects)

    @property
    def pairs(self) -> list[Pair]:
        """Every tensor that is merged."""
        tower = vision_pairs(self.layers, self._projects)
        return tower + leftover_pairs() if self.leftovers else tower

    @cached_property
    def _raw_base(self) -> Checkpoint:
        wanted_by = f"model={self.name}"
        path = hubs.model(self.base, self.hub_dir, wanted_by, self.base_revision)
        return self._raw(path)

    def _raw_expert(self, task: str) -> Checkpoint:
        entry = self._bound_tasks.entry(task)
        template = self.sources[self.source]
        assert template is not None  # checked when this was made
        place, others = places(template, entry, task)
        wanted_by = f"model={self.name} source={self.source} task={task}"
        return self._raw(hubs.model(place, self.hub_dir, wanted_by, others=others))

    def _raw(self, path: Path) -> Checkpoint:
        """A file's weights under plain names.

        Heads, which the suite's own exports carry, are left out: they are made anew.
        """
        opened = open_any(path)
        tower: dict[str, Tensor] = {}
        for name, tensor in opened.tensors.items():
            if not is_private(name, self.private):
                tower[name] = tensor
        return Checkpoint(opened.path, opened.files, normalise(tower))

    def _packaged(self, raw: Checkpoint) -> Lazy:
        """The merged tensors of a file in the run's packaging."""
        return convert(raw.tensors, self.pairs, self.packaging, raw.path)

    def open_base(self) -> Checkpoint:
        """The base's merged tensors in the run's packaging."""
        raw = self._raw_base
        return Checkpoint(raw.path, raw.files, self._packaged(raw), lasting=False)

    def open_expert(self, task: str) -> Checkpoint:
        """A task's tensors in the run's packaging, and its head."""
        raw = self._raw_expert(task)
        self._check(raw)
        makers = dict(self._packaged(raw).makers)
        makers[HEAD] = partial(self.head, task)
        if not self._projects:
            makers[FROZEN] = self._base_projection
        return Checkpoint(raw.path, raw.files, Lazy(makers), lasting=False)

    def _check(self, raw: Checkpoint) -> None:
        """Raises TadropError for a file that does not fit the others."""
        layers = (self.layers, self.text_layers)
        check_tower(raw.tensors, layers, self.name, raw.path)
        if self.projection == "auto" and not self._projects and _has_projection(raw):
            raise TadropError(
                f"{raw.path}: carries a projection, and another expert of these tasks "
                "does not; set model.projection=frozen to use the base's for all"
            )

    def settled(self, base: Checkpoint, experts: Mapping[str, Checkpoint]) -> "Clip":
        """This model: `private` names all that is private."""
        return self

    def _base_projection(self) -> Tensor:
        """The base's projection [width, embedding]."""
        raw = self._raw_base
        fused = convert(raw.tensors, [PROJECTION_PAIR], "fused", raw.path)
        return fused[PROJECTION["fused"]]

    def _text_tower(self) -> Mapping[str, Tensor]:
        """The base's text tower in open_clip's names."""
        raw = self._raw_base
        return convert(raw.tensors, text_pairs(self.text_layers), "fused", raw.path)

    def head(self, task: str) -> Tensor:
        """The zero-shot head of a task [classes, embedding], perhaps from the cache."""
        tasks = self._bound_tasks
        return zeroshot.head(
            self.config,
            self._text_tower,
            self._raw_base.fingerprint,
            tasks.classes(task),
            tasks.entry(task).templates,
            Path(self.cache) if self.cache else None,
        )

    def published(self) -> dict[str, float]:
        """Accuracies in percent that the source's authors report, by task."""
        return self._bound_tasks.published(self.source, self.name)

    def build(self) -> Classifier:
        """The module with memory but without weights."""
        mean, std = self.preprocess["mean"], self.preprocess["std"]
        module = Classifier(empty_tower(self.config), mean, std)
        if self.leftovers:
            raw = self._raw_base
            text = convert(raw.tensors, leftover_pairs(), "fused", raw.path)
            for name in text:
                module.leftovers[name] = torch.empty_like(text[name])
        return module

    def slots(self, module: Classifier) -> dict[str, Tensor]:
        """Where each tensor goes: to the module's own, or to views of their q, k and v."""
        own = dict(module.named_parameters()) | module.leftovers
        slots: dict[str, Tensor] = {}
        for pair in self.pairs:
            if self.packaging == "split":
                slots |= split_slots(own[pair.fused], pair)
            else:
                slots[pair.fused] = own[pair.fused]
        if not self._projects:
            slots[FROZEN] = own[PROJECTION["fused"]]
        return slots

    def equip(self, module: Classifier, private: PrivateTensors) -> None:
        """Puts a task's head in, and the frozen projection if there is one."""
        projection = module.get_parameter(PROJECTION["fused"])
        module.head.weight = private[HEAD].to(projection)
        if FROZEN in private:
            projection.data.copy_(private[FROZEN])

    def first_head(
        self, module: Classifier, images: Tensor, labels: Tensor, task: str
    ) -> dict[str, Tensor]:
        """The zero-shot head, whatever the images."""
        if self._projects:
            return {HEAD: self.head(task)}
        return {HEAD: self.head(task), FROZEN: self._base_projection()}


def _check(word: str, value: str, choices: Sequence[str]) -> None:
    *others, last = choices
    if value not in choices:
        raise TadropError(
            f"model.{word} is {value!r}; it must be {', '.join(others)} or {last}"
        )


def _has_projection(raw: Checkpoint) -> bool:
    return any(name in raw.tensors for name in PROJECTION.values())


_MODEL: type[Model] = Clip  # a type checker compares all members
_TRAINABLE: type[Trainable] = Clip
