"""How many examples a second the suite evaluates, against bare forward passes.

    python -m experiments.benchmark_evaluate model=vit_b32 tasks=offline8 limit=256 paths.hub=DIR
    python -m experiments.benchmark_evaluate model=gpt2 limit=512 dtype=bfloat16 device=cuda

It was run for README's figures, and is needed again when the evaluation loop, the
batches or a model change. It takes minutes: five turns over `limit` examples, twice.
It adds a row to results/benchmarks/evaluate.json and renders evaluate.md.

Any model and tasks of the suite will do; the first task is timed, once its data are
cached. The bare loop runs the same module on random inputs of the same batches (images:
normalised floats, so that it has no preparation to do) and throws the outputs away.
Both take turns, and the median of the ratios counts. Weights do not matter: where there
are no experts, the base stands in with a head fitted to a batch.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from experiments.benchmarks.page import PAGES, machine, seconds_of
from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import CONF
from tadrop.app.runs import build
from tadrop.app.runs.opening import device_of, dtype_of
from tadrop.app.terminal.entry import enter
from tadrop.evaluation.bench import Bench, precision, score, set_up
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.models.model import Model, Trainable
from tadrop.modules import batches as batching
from tadrop.protocols.tasks import Tasks
from tadrop.storage.checkpoint import Checkpoint
from tadrop.storage.files import write_text
from tadrop.types import TadropError
from tadrop.vectors.merged import Merged
from tadrop.vectors.task_vectors import TaskVectors

ROUNDS = 5
COLUMNS = (
    "model",
    "input",
    "batch",
    "device",
    "threads",
    "dtype",
    "suite",
    "bare",
    "ratio",
)
# What tells two rows apart; a new row takes the place of an old one that is the same.
KIND = ("model", "input", "batch", "device", "processor", "threads", "dtype")

Row = Mapping[str, Any]


class Opened(NamedTuple):
    """What is timed: a bench, a merge that changes nothing, and the task."""

    model: Model
    bench: Bench
    untouched: Merged
    task: str


def opened(config: Mapping[str, Any]) -> Opened:
    """Opens what the configuration names."""
    tasks = build.tasks(config["tasks"])
    model = build.model(config["model"]).bound(tasks)
    task = tasks.names[0]
    base = model.open_base()
    experts = {task: expert_or_base(model, base, tasks, task)}
    model = model.settled(base, experts)
    device, dtype = device_of(config["device"]), dtype_of(config["dtype"])
    bench = set_up(model, base, experts, tasks, device, dtype)
    stream = TaskVectors(base, experts, tuple(model.private))
    untouched = merge(stream, Method(lambda taus: torch.zeros_like(taus[:1])))
    return Opened(model, bench, untouched, task)


def expert_or_base(
    model: Model,
    base: Checkpoint,
    tasks: Tasks,
    task: str,
) -> Checkpoint:
    """A task's expert, or the base with a first head where there is none."""
    try:
        return model.open_expert(task)
    except TadropError:
        if not isinstance(model, Trainable):
            raise
        images, labels = next(iter(tasks.batches(task, "test")))
        module = set_up(model, base, {}, tasks, torch.device("cpu")).module
        head = model.first_head(module, images, labels, task)
        return Checkpoint(base.path, base.files, {**base.tensors, **head})


def random_like(tensor: Tensor) -> Tensor:
    """Random inputs of the same size.

    They are images ready for the model, or token ids without padding.
    """
    if tensor.dtype == torch.uint8:
        return torch.randn(len(tensor), 3, *tensor.shape[1:3])
    if tensor.dtype == torch.long:
        return torch.randint(0, 1000, tensor.shape)
    return torch.randn_like(tensor)


def forward(bench: Bench, batches: Sequence[Any]) -> None:
    """Nothing but forward passes."""
    with torch.inference_mode(), precision(bench):
        for batch in batches:
            bench.module(batch)
    if bench.device.type == "cuda":
        torch.cuda.synchronize(bench.device)


class Seconds(NamedTuple):
    """What every turn took: the suite's evaluation, and forward passes alone."""

    suite: list[float]
    bare: list[float]


def in_turns(subject: Opened, batches: Sequence[Any]) -> Seconds:
    """Measures the suite's evaluation and the forward passes, one after the other."""
    _, bench, untouched, task = subject
    bench.equip(task)
    forward(bench, batches[:1])  # warms up
    seconds = Seconds([], [])
    for _ in range(ROUNDS):
        suite = seconds_of(lambda: score(bench, untouched, task, "test"))
        seconds.suite.append(suite)
        seconds.bare.append(seconds_of(lambda: forward(bench, batches)))
    return seconds


def measured(config: Mapping[str, Any]) -> Row:
    """One row of the page."""
    subject = opened(config)
    bench = subject.bench
    first, _ = next(iter(bench.tasks.batches(subject.task, "test")))
    batches: list[Any] = []
    for batch, _ in bench.tasks.batches(subject.task, "test"):
        random = batching.mapped(random_like, batch)
        batches.append(batching.moved(random, bench.device))
    examples = sum(map(batching.count, batches))
    seconds = in_turns(subject, batches)
    rounds: list[list[float]] = []
    for suite, bare in zip(*seconds, strict=True):
        rounds.append([round(suite, 4), round(bare, 4)])
    is_image = isinstance(first, Tensor) and first.dim() == 4
    return {
        "model": subject.model.name,
        "input": f"{first.shape[1]} px" if is_image else "text",
        "batch": batching.count(first),
        "device": device_name(bench.device),
        "processor": machine()["processor"],
        "threads": torch.get_num_threads(),
        "dtype": config["dtype"],
        "examples": examples,
        "suite": examples / median(seconds.suite),
        "bare": examples / median(seconds.bare),
        "ratio": median(map(truediv, seconds.bare, seconds.suite)),
        "rounds": rounds,
        "torch": torch.__version__,
    }


def device_name(device: torch.device) -> str:
    """What a page calls a device: the model of an accelerator, or cpu."""
    if device.type == "cpu":
        return str(device)
    return torch.cuda.get_device_name(device)


def markdown(rows: Sequence[Row]) -> str:
    """The page, from the rows alone."""
    lines = [
        "# Evaluation against bare forward passes",
        "",
        "Examples a second, data cached; ratio: suite to bare.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|:--|:--|--:|:--|--:|:--|--:|--:|--:|",
    ]
    processors: set[str] = set()
    for row in rows:
        cells = [cell(column, row[column]) for column in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
        processors.add(f"{row['processor']}, torch {row['torch']}")
    made_by = "Made by `python -m experiments.benchmark_evaluate`."
    return "\n".join([*lines, "", *sorted(processors), "", made_by]) + "\n"


def cell(column: str, value: object) -> str:
    """A value as the page shows it."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if column == "ratio" else f"{value:.1f}"


def kind(row: Row) -> list[str]:
    """What tells a row from others."""
    return [str(row[word]) for word in KIND]


def add(row: Row, folder: Path) -> None:
    """Puts a row on the page, in the place of an older one of its kind."""
    file = folder / "evaluate.json"
    older = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    rows = [dict(row)]
    for other in older:
        if kind(other) != kind(row):
            rows.append(other)
    rows.sort(key=kind)
    write_text(file, json.dumps(rows, indent=1) + "\n")
    write_text(folder / "evaluate.md", markdown(rows))


def main() -> None:
    """Measures what the words of the command line name, and adds it to the page."""
    with told_in_one_line():
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = build.resolved(compose("config", sys.argv[1:]))
        row = measured(config)
    add(row, PAGES)
    out.print(
        f"{row['model']}: {row['suite']:.1f} a second, "
        f"bare {row['bare']:.1f}, ratio {row['ratio']:.2f}"
    )


if __name__ == "__main__":
    enter()
    main()
