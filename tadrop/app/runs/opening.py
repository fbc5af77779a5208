"""Opens what a configuration names: the model, its base and experts, the tasks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tadrop.app.console import err, say
from tadrop.app.mistakes import spelled
from tadrop.app.runs import build
from tadrop.app.runs.precision import warn_of_slow
from tadrop.checkpoints.fitting import some
from tadrop.evaluation import bench as benches
from tadrop.evaluation.bench import Bench
from tadrop.merging.weighting import check_rule, check_rules
from tadrop.models.matrices import found_matrices, matrix_layouts
from tadrop.models.model import Model, Trainable
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import TadropError
from tadrop.vectors.task_vectors import TaskVectors

DTYPES = ("float32", "bfloat16")

Config = Mapping[str, Any]


def device_of(word: str) -> torch.device:
    """The device that a word names; auto is the GPU if there is one."""
    if word == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if word.startswith("cuda") and not torch.cuda.is_available():
        raise TadropError(
            f"device={word}, but torch sees no GPU here; use device=cpu or device=auto"
        )
    try:
        return torch.device(word)
    except RuntimeError as error:
        raise TadropError(
            f"device is {word!r}; it must be auto, cpu or cuda"
        ) from error


def dtype_of(word: str) -> torch.dtype:
    """What an evaluation computes in."""
    if word not in DTYPES:
        raise TadropError(f"dtype is {word!r}; it must be {' or '.join(DTYPES)}")
    return getattr(torch, word)


def open_bench(config: Config) -> tuple[Bench, TaskVectors]:
    """Checkpoints, tasks, and the module they are evaluated in.

    They are shared by all jobs of a sweep that use the same ones.
    """
    nodes = [config[word] for word in ("model", "tasks", "device", "dtype")]
    return _open_bench(json.dumps(nodes), config["paths"]["cache"])


@lru_cache(maxsize=1)
def _open_bench(nodes: str, cache: str) -> tuple[Bench, TaskVectors]:
    model_node, tasks_node, device_word, dtype_word = json.loads(nodes)
    tasks, device = build.tasks(tasks_node), device_of(device_word)
    dtype = dtype_of(dtype_word)
    if device.type == "cpu":
        warn_of_slow(dtype)
    model = build.model(model_node).bound(tasks)
    model, stream = _opened(model, tasks.names, device)
    tell_notes(stream.base)
    bench = benches.set_up(
        model, stream.base, stream.experts, tasks, device, dtype, Path(cache)
    )
    return bench, stream


def open_stream(config: Config, silent: bool = False) -> TaskVectors:
    """Checkpoints alone, for a merge that is written and not evaluated.

    silent: what is doubtful about them was said before
    """
    model = build.model(config["model"])
    names = model.own_tasks
    if names is None:
        tasks = build.tasks(config["tasks"])
        model, names = model.bound(tasks), tasks.names
    stream = _opened(model, names, device_of(config["device"]))[1]
    if not config["export"]["expand"]:
        stream = _with_note_of_private(stream)
    if not silent:
        tell_notes(stream.base)
    for word in ("weights", "density"):
        check_rules(f"model.{word}", config["model"].get(word), stream)
    check_rule("model.t", config["model"].get("t"), stream.names)
    return stream


def _with_note_of_private(stream: TaskVectors) -> TaskVectors:
    """The stream, whose notes say what becomes of tensors that no merge is about."""
    own: set[str] = set()
    for tensors in stream.private_tensors().values():
        own.update(tensors)
    if not own:
        return stream
    base = stream.base
    here = f"those of {base.path.name}" if own & {*base.tensors} else "none of them"
    note = (
        f"{some(sorted(own))} stay each expert's own, and OUT has {here}; "
        "--expand writes a folder per expert with its own, tadrop unpack one of them"
    )
    return replace(stream, base=replace(base, notes=(*base.notes, note)))


def tell_notes(base: Checkpoint) -> None:
    """Says what is doubtful about a base and its experts, a line each."""
    for note in base.notes:
        say(f"note: {spelled(note)}", err)


def _opened(
    model: Model, tasks: Sequence[str], device: torch.device
) -> tuple[Model, TaskVectors]:
    """The model, with every private tensor named,
    and the task vectors of the others.
    """
    base = model.open_base()
    experts = {task: model.open_expert(task) for task in tasks}
    _check_private(model, base, experts)
    found = found_matrices(model)
    model = model.settled(base, experts)
    stream = TaskVectors(base, experts, tuple(model.private), device)
    layouts = matrix_layouts(model.name, model.matrices, stream.shapes)
    for name, layout in found.items():
        if name in stream.shapes:
            layouts.setdefault(name, layout)
    return model, replace(stream, matrix_layouts=layouts)


def _check_private(
    model: Model, base: Checkpoint, experts: Mapping[str, Checkpoint]
) -> None:
    """Raises TadropError for a pattern of model.private that no tensor's name fits.

    A model that makes its heads, from class names say, has them in no file.
    """
    if isinstance(model, Trainable) and not model.keeps_heads:
        return
    names = {*base.tensors}
    for expert in experts.values():
        names |= {*expert.tensors}
    for pattern in model.private:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = get_close_matches(pattern, sorted(names), 1, 0)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise TadropError(
                f"model.private=[{pattern}]: no tensor is called so{meant}"
            )
