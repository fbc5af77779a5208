"""Statistics of a task's model on a task's data: a second checkpoint-like file per
task, streamed beside its vector.

A merge row declares a recipe under `statistics:`. Files lie in the cache under a name
made of everything they depend
on: the checkpoint, the data, the recipe and the source of the function that computes
them. They are taken from the fine-tuned models as they are, so that rows with and
without TADrop share them.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tadrop.evaluation import samples
from tadrop.evaluation.bench import Bench
from tadrop.modules.batches import moved
from tadrop.storage.checkpoint import Checkpoint, open_checkpoint
from tadrop.storage.files import write_tensors
from tadrop.types import Slot, TadropError

Collect = Callable[[nn.Module, Iterator[Any], Mapping[str, Slot]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """What is measured, and on which examples.

    collect(module, batches, places) -> {tensor name: statistic}   places: where the tensors that merge lie in it
    split, examples, batch, seed: which inputs, how many at most, how many at once, and
    their order
    """

    collect: Collect
    split: str
    examples: int
    batch: int
    seed: int = 0

    def fingerprint(self) -> str:
        """Everything a statistic depends on but the model and the data."""
        formula = self.collect
        knobs = formula.keywords if isinstance(formula, partial) else {}
        function = formula.func if isinstance(formula, partial) else formula
        source = hashlib.sha256(
            Path(inspect.getsourcefile(function)).read_bytes()
        ).hexdigest()
        return json.dumps(
            [
                function.__module__,
                function.__qualname__,
                knobs,
                source,
                self.split,
                self.examples,
                self.batch,
                self.seed,
            ],
            sort_keys=True,
        )


@dataclass(frozen=True)
class TaskStatistics:
    """The statistics of all tasks, read tensor by tensor."""

    files: Mapping[str, Checkpoint]
    device: torch.device

    def read(
        self, name: str, start: int = 0, stop: int | None = None
    ) -> Tensor | None:
        """[task, ...]: whole, or the flat entries start to stop; None where there is no
        statistic for this tensor.
        """
        if any(name not in file.tensors for file in self.files.values()):
            return None
        tensors = [
            file[name].to(self.device, torch.float32) for file in self.files.values()
        ]
        if start == 0 and stop is None:
            return torch.stack(tensors)
        return torch.stack([tensor.reshape(-1)[start:stop] for tensor in tensors])


def gather(
    recipe: Recipe,
    bench: Bench,
    names: Sequence[str],
    cache: Path,
    on_task: Callable[[], None] = lambda: None,
) -> TaskStatistics:
    """The statistics of every task's own model on its own data, from the cache or
    measured now and put there.
    """
    files = {}
    for task, expert in bench.experts.items():
        words = [
            recipe.fingerprint(),
            bench.backbone.name,
            expert.fingerprint(),
            *sorted(names),
        ]
        words += [bench.tasks.fingerprint(task, recipe.split), torch.__version__]
        key = hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
        path = cache / "statistics" / f"{task}-{key}.safetensors"
        if not path.exists():
            write_tensors(path, _measure(recipe, bench, task, names))
        files[task] = open_checkpoint(path)
        on_task()
    return TaskStatistics(files, bench.device)


def _measure(
    recipe: Recipe, bench: Bench, task: str, names: Sequence[str]
) -> dict[str, Tensor]:
    bench.load(bench.expert(task, names))
    bench.equip(task)
    inputs = samples.first(
        bench.tasks, task, recipe.split, recipe.examples, recipe.batch, recipe.seed
    )
    found = recipe.collect(
        bench.module, (moved(x, bench.device) for x in inputs), bench.places(names)
    )
    if not found:
        raise TadropError(
            f"task {task!r}: no merged tensor of model {bench.backbone.name} has a statistic"
        )
    return {name: tensor.float().cpu().contiguous() for name, tensor in found.items()}
