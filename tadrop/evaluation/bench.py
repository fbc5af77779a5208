"""Evaluates weights on tasks: the module is built once and weights are swapped in
place. No averaging, no files.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from tadrop.evaluation import samples
from tadrop.models.backbone import Backbone
from tadrop.modules.batches import moved
from tadrop.modules.slots import locate
from tadrop.protocols import Tasks
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import Score, Slot, TadropError
from tadrop.vectors.merged import Merged, materialise


@dataclass(frozen=True)
class Bench:
    """A module on a device, with the base's weights in it and each task's private
    tensors at hand.

    dtype: what a score's forward passes compute in. Weights, and whatever a method
    measures or trains, are float32.
    """

    module: nn.Module
    base: Checkpoint
    experts: Mapping[str, Checkpoint]
    backbone: Backbone
    tasks: Tasks
    device: torch.device
    dtype: torch.dtype = torch.float32

    @property
    def head(self) -> str:
        """The name of the submodule whose input is the features."""
        name = self.backbone.head_module
        if name is None:
            raise TadropError(
                f"model {self.backbone.name} names no head that reads one vector an example (model.head): adapters, "
                "routers and dtype=bfloat16 need one"
            )
        return name

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copies weights into the module in place."""
        install(self.backbone.places(self.module), weights)

    def theta0(self, name: str) -> Tensor:
        """One tensor of the base, float32, on the device."""
        return self.base[name].to(self.device, torch.float32)

    def expert(self, task: str, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """The weights of a task's own model, one at a time."""
        return (
            (name, self.experts[task][name].to(self.device, torch.float32))
            for name in names
        )

    def equip(self, task: str) -> None:
        """Puts a task's private tensors (its head) into the module."""
        self.backbone.equip(
            self.module, self.backbone.private_tensors(self.experts[task])
        )

    def places(self, names: Iterable[str]) -> dict[str, Slot]:
        """Where these tensors lie in the module's parameters; what is no part of a
        parameter is left out.
        """
        tensors = self.backbone.places(self.module)
        return locate(
            self.module, {name: tensors[name] for name in names if name in tensors}
        )

    def samples(
        self, task: str, split: str, size: int, *words: object
    ) -> Iterator[Any]:
        """Endless shuffled batches of inputs, on the device; the words decide the
        order.
        """
        return (
            moved(x, self.device)
            for x in samples.endless(self.tasks, task, split, size, *words)
        )

    @torch.no_grad()
    def features(
        self, task: str, split: str, limit: int | None = None, *words: object
    ) -> Tensor:
        """What the module as it is hands to the head, [example, width]: the split in
        order, or `limit` drawn ones.
        """
        self.equip(task)
        whole = (inputs for inputs, _ in self.tasks.batches(task, split))
        some = (
            whole
            if limit is None
            else samples.first(self.tasks, task, split, limit, 500, *words)
        )
        seen: list[Tensor] = []
        handle = self.module.get_submodule(self.head).register_forward_pre_hook(
            lambda head, args: seen.append(args[0])
        )
        try:
            for inputs in some:
                self.module(moved(inputs, self.device))
        finally:
            handle.remove()
        return torch.cat(seen)

    def score(self, task: str, split: str) -> float:
        """The task's metric over one split, for the module as it is with the task's
        private tensors.
        """
        self.equip(task)
        return _graded(self, task, split).value


def set_up(
    backbone: Backbone,
    base: Checkpoint,
    experts: Mapping[str, Checkpoint],
    tasks: Tasks,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Bench:
    """Builds the module once and loads the base's weights; what the merge does not
    touch stays the base's.
    """
    module = backbone.build().to(device).eval().requires_grad_(False)
    if isinstance(backbone, Backbone):
        backbone.refuse_holes(module, base)
    bench = Bench(module, base, experts, backbone, tasks, device, dtype)
    if dtype != torch.float32:
        # precision() needs it: a model that does not name it is told so before anything
        # is merged
        _ = bench.head
    private, places = backbone.private_tensors(base), backbone.places(module)
    install(places, ((n, t) for n, t in base.tensors.items() if n not in private))
    return bench


@torch.no_grad()
def install(
    places: Mapping[str, Tensor], weights: Iterable[tuple[str, Tensor]]
) -> None:
    """Copies weights into a module's tensors in place."""
    for name, weight in weights:
        if name not in places:
            raise TadropError(
                f"the model has no tensor called {name!r}; this checkpoint is of another architecture"
            )
        if places[name].shape != weight.shape:
            ours, theirs = list(places[name].shape), list(weight.shape)
            raise TadropError(
                f"tensor {name!r} has shape {theirs}; the model's has {ours}"
            )
        places[name].copy_(weight)


@contextmanager
def precision(bench: Bench) -> Iterator[None]:
    """Forward passes in the bench's dtype, weights and all; the head in float32, as
    rounded logits would tie.
    """
    if bench.dtype == torch.float32:
        yield
        return
    head, kind = bench.module.get_submodule(bench.head), bench.device.type
    plain = head.forward

    def exact(features: Tensor) -> Tensor:
        with torch.autocast(kind, enabled=False):
            return plain(features.float())

    with torch.autocast(kind, bench.dtype), patch.object(head, "forward", exact):
        yield


@torch.inference_mode()
def score(bench: Bench, merged: Merged, task: str, split: str) -> Score:
    """Runs the module, with the weights it has and the result's attachment, over one
    split of one task.
    """
    bench.equip(task)
    with merged.attached(bench.module, task):
        return _graded(bench, task, split)


@torch.inference_mode()
def _graded(bench: Bench, task: str, split: str) -> Score:
    """The score of the module as it is."""
    with precision(bench):
        values = [
            bench.tasks.grade(
                bench.module(moved(inputs, bench.device)), targets.to(bench.device)
            )
            for inputs, targets in bench.tasks.batches(task, split)
        ]
    kept = torch.cat(values).cpu()
    metrics = bench.tasks.measure(task, split, kept)
    if metrics is None:
        return Score(
            task,
            split,
            bench.tasks.metric,
            float(kept.double().mean()),
            len(kept),
            kept,
        )
    (metric, value), *details = metrics.items()
    return Score(task, split, metric, value, len(kept), details=dict(details))


def evaluate(
    bench: Bench,
    merged: Merged,
    scale: float,
    split: str,
    names: Sequence[str] | None = None,
    on_task: Callable[[Score], None] = lambda score: None,
) -> list[Score]:
    """Scores theta0 + scale * delta on each task's split. Shared weights are put in
    place once.
    """
    scores, installed = [], False
    for task in names or bench.tasks.names:
        if not (merged.is_shared and installed):
            install(
                bench.backbone.places(bench.module),
                materialise(bench.base, merged, task, scale),
            )
            installed = True
        scores.append(score(bench, merged, task, split))
        on_task(scores[-1])
    return scores
