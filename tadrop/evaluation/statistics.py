"""Statistics of a task's model on a task's data: a second checkpoint-like file per
task, read beside its vector.

A merge row declares a measurement under `statistics:`. Files lie in the cache under a
name made of everything they depend on: the checkpoint, the data, the measurement and
the formula's code, wherever that lies. They are taken from the fine-tuned models as
they are, so that rows with and without TADrop share them.
"""

import hashlib
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
from tadrop.evaluation.formula import formula_hash
from tadrop.modules.batches import moved
from tadrop.storage.atomic import caching
from tadrop.storage.checkpoint import Checkpoint, open_checkpoint
from tadrop.storage.files import write_tensors
from tadrop.types import Slot, TadropError

Collect = Callable[[nn.Module, Iterator[Any], Mapping[str, Slot]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Measurement:
    """What is measured, and on which examples.

    collect:  of a module, batches of inputs, and the slots of the tensors that merge,
              gives a statistic for each tensor that has one, by its name
    split:    which inputs
    examples: how many at most
    batch:    how many at once
    seed:     their order
    """

    collect: Collect
    split: str
    examples: int
    batch: int
    seed: int = 0

    def fingerprint(self) -> str:
        """Everything a statistic depends on but the model and the data."""
        formula, knobs = self.collect, {}
        if isinstance(formula, partial):
            formula, knobs = formula.func, formula.keywords
        inputs = [self.split, self.examples, self.batch, self.seed]
        return json.dumps([formula_hash(formula), knobs, *inputs], sort_keys=True)


@dataclass(frozen=True)
class TaskStatistics:
    """The statistics of all tasks, read tensor by tensor."""

    files: Mapping[str, Checkpoint]
    device: torch.device

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor | None:
        """[task, ...]: a whole tensor, or its flat entries start to stop.

        None where there is no statistic for this tensor.
        """
        tensors = []
        for file in self.files.values():
            if name not in file.tensors:
                return None
            tensor = file[name].to(self.device, torch.float32)
            if start != 0 or stop is not None:
                tensor = tensor.reshape(-1)[start:stop]
            tensors.append(tensor)
        return torch.stack(tensors)


def gather(
    measurement: Measurement,
    bench: Bench,
    names: Sequence[str],
    cache: Path,
    on_task: Callable[[], None] = lambda: None,
) -> TaskStatistics:
    """The statistics of every task's own model on its own data.

    They are read from the cache, or measured now and put there.
    """
    files = {}
    for task, expert in sorted(bench.experts.items()):
        words = [
            measurement.fingerprint(),
            bench.model.name,
            expert.fingerprint(),
            *sorted(names),
            bench.tasks.fingerprint(task, measurement.split),
            torch.__version__,
        ]
        key = hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
        file = cache / "statistics" / f"{task}-{key}.safetensors"
        path = caching.place(file)
        if not path.exists():
            write_tensors(path, _measure(measurement, bench, task, names))
        files[task] = open_checkpoint(path)
        on_task()
    return TaskStatistics(files, bench.device)


def _measure(
    measurement: Measurement, bench: Bench, task: str, names: Sequence[str]
) -> dict[str, Tensor]:
    """The statistics of one task's model, on the CPU."""
    bench.load(bench.expert(task, names))
    bench.equip(task)
    inputs = _inputs(measurement, bench, task)
    collected = measurement.collect(bench.module, inputs, bench.slots(names))
    if not collected:
        raise TadropError(
            f"task {task!r}: "
            f"no merged tensor of model {bench.model.name} has a statistic"
        )
    statistics = {}
    for name, tensor in collected.items():
        statistics[name] = tensor.float().cpu().contiguous()
    return statistics


def _inputs(measurement: Measurement, bench: Bench, task: str) -> Iterator[Any]:
    """The batches that are looked at, on the bench's device."""
    chosen = samples.first(
        bench.tasks,
        task,
        measurement.split,
        measurement.examples,
        measurement.batch,
        measurement.seed,
    )
    for inputs in chosen:
        yield moved(inputs, bench.device)
