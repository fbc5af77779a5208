"""Evaluates weights on tasks: the module is built once and weights are swapped in place.

No averaging, no files.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from tadrop.evaluation import samples
from tadrop.evaluation.formula import formula_hash
from tadrop.evaluation.traces import Trace
from tadrop.models.model import Model
from tadrop.models.weights import install, loaded, private_tensors
from tadrop.modules.batches import moved
from tadrop.modules.slots import locate
from tadrop.protocols.tasks import Tasks
from tadrop.storage.atomic import caching
from tadrop.storage.checkpoint import Checkpoint
from tadrop.storage.files import claimed
from tadrop.types import Score, Slot, TadropError
from tadrop.vectors.merged import Merged, materialise

AT_ONCE = 500  # inputs of a forward pass while drawn examples are looked at


@dataclass(frozen=True)
class Bench:
    """A module on a device, with the base's weights in it, and each task's private
    tensors at hand.

    dtype: what a score's forward passes compute in. Weights, and whatever a method
           measures or trains, are float32
    cache: the folder in which the traces of searches are kept; None for none
    """

    module: nn.Module
    base: Checkpoint
    experts: Mapping[str, Checkpoint]
    model: Model
    tasks: Tasks
    device: torch.device
    dtype: torch.dtype = torch.float32
    cache: Path | None = None

    def head(self) -> str:
        """The name of the submodule whose input is the features.

        Raises TadropError for a model that names none.
        """
        name = self.model.head_module
        if name is None:
            raise TadropError(
                f"model {self.model.name} names no head that reads one vector an example "
                "(model.head): adapters, routers and dtype=bfloat16 need one"
            )
        return name

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copies weights into the module in place."""
        install(self.model.slots(self.module), weights)

    def theta0(self, name: str) -> Tensor:
        """One tensor of the base, float32, on the device."""
        return self.base[name].to(self.device, torch.float32)

    def expert(self, task: str, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """The weights of a task's own model, one at a time."""
        checkpoint = self.experts[task]
        for name in names:
            yield name, checkpoint[name].to(self.device, torch.float32)

    def equip(self, task: str) -> None:
        """Puts a task's private tensors (its head) into the module.

        Raises TadropError for one that its file lacks.
        """
        private = private_tensors(self.model, self.experts[task])
        self.model.equip(self.module, private)

    def slots(self, names: Iterable[str]) -> dict[str, Slot]:
        """Where these tensors lie in the module's parameters.

        What is no part of a parameter is left out.
        """
        tensors = self.model.slots(self.module)
        wanted = {name: tensors[name] for name in names if name in tensors}
        return locate(self.module, wanted)

    def samples(
        self, task: str, split: str, size: int, *words: object
    ) -> Iterator[Any]:
        """Endless shuffled batches of inputs, on the device;
        the words decide the order.
        """
        for batch in samples.endless(self.tasks, task, split, size, *words):
            yield moved(batch, self.device)

    @torch.no_grad()
    def features(
        self, task: str, split: str, limit: int | None = None, *words: object
    ) -> Tensor:
        """What the module as it is hands to the head, [example, width].

        The split in order, or `limit` examples of it that the words draw.
        """
        self.equip(task)
        batches = self._inputs(task, split, limit, words)
        seen: list[Tensor] = []
        head = self.module.get_submodule(self.head())
        handle = head.register_forward_pre_hook(
            lambda module, args: seen.append(args[0])
        )
        try:
            for inputs in batches:
                self.module(moved(inputs, self.device))
        finally:
            handle.remove()
        return torch.cat(seen)

    def _inputs(
        self, task: str, split: str, limit: int | None, words: tuple[object, ...]
    ) -> Iterator[Any]:
        """Inputs of a split in order, or `limit` drawn ones, in batches.

        A split that the tasks do not offer is refused at once, before the first batch.
        """
        whole = self.tasks.batches(task, split)
        if limit is not None:
            return samples.first(self.tasks, task, split, limit, AT_ONCE, *words)
        return (inputs for inputs, _ in whole)

    @contextmanager
    def trace(
        self,
        formula: Callable[..., Any],
        tasks: Iterable[str],
        split: str,
        *words: object,
    ) -> Iterator[Trace]:
        """The trace of a search, which one process at a time makes: see Workbench."""
        if self.cache is None:
            yield Trace(None)
            return
        depends = [formula_hash(formula), self.model.name, self.base.fingerprint()]
        for task in tasks:
            depends.append(self.experts[task].fingerprint())
            depends.append(self.tasks.fingerprint(task, split))
        depends += [str(self.dtype), self.device.type, torch.__version__]
        depends += map(str, words)
        key = sha256("\0".join(depends).encode()).hexdigest()[:16]
        file = caching.place(self.cache / "searches" / f"{key}.jsonl")
        file.parent.mkdir(parents=True, exist_ok=True)
        with claimed(file, self.cache / "locks", lambda: None):
            yield Trace(file)

    def score(self, task: str, split: str) -> float:
        """The task's metric over one split, for the merged tensors that the module has.

        The task's own tensors, its head, are put beside them first.
        """
        self.equip(task)
        return _graded(self, task, split).value


def set_up(
    model: Model,
    base: Checkpoint,
    experts: Mapping[str, Checkpoint],
    tasks: Tasks,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    cache: Path | None = None,
) -> Bench:
    """Builds the module once, with the base's weights in it.

    What a merge does not touch stays the base's. Raises TadropError for a weight that
    no file has, and for a dtype that needs to know the head of a model that names none.
    """
    module = loaded(model, base, device)
    bench = Bench(module, base, experts, model, tasks, device, dtype, cache)
    if dtype != torch.float32:
        bench.head()  # precision() needs it: better told before anything is merged
    return bench


@contextmanager
def precision(bench: Bench) -> Iterator[None]:
    """Forward passes in the bench's dtype, weights and all.

    The head computes in float32, as rounded logits would tie.
    """
    if bench.dtype == torch.float32:
        yield
        return
    head, kind = bench.module.get_submodule(bench.head()), bench.device.type
    plain = head.forward

    def exact(features: Tensor) -> Tensor:
        with torch.autocast(kind, enabled=False):
            return plain(features.float())

    with torch.autocast(kind, bench.dtype), patch.object(head, "forward", exact):
        yield


@torch.inference_mode()
def score(bench: Bench, merged: Merged, task: str, split: str) -> Score:
    """Runs the module over one split of one task.

    It runs with the weights it has, and with what the merge attaches to it.
    """
    bench.equip(task)
    with merged.attached(bench.module, task):
        return _graded(bench, task, split)


@torch.inference_mode()
def _graded(bench: Bench, task: str, split: str) -> Score:
    """The score of the module as it is."""
    tasks, device = bench.tasks, bench.device
    values: list[Tensor] = []
    with precision(bench):
        for inputs, targets in tasks.batches(task, split):
            outputs = bench.module(moved(inputs, device))
            values.append(tasks.grade(outputs, targets.to(device)))
    kept = torch.cat(values).cpu()
    metrics = tasks.measure(task, split, kept)
    if metrics is None:
        mean = float(kept.double().mean())
        return Score(task, split, tasks.metric, mean, len(kept), kept)
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
    """Scores theta0 + scale * delta on each task's split.

    Shared weights are put in place once.
    """
    scores: list[Score] = []
    for task in names or bench.tasks.names:
        if not (merged.is_shared and scores):
            bench.load(materialise(bench.base, merged, task, scale))
        task_score = score(bench, merged, task, split)
        scores.append(task_score)
        on_task(task_score)
    return scores
