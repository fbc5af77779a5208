"""Examples a second of the suite's evaluation, against a bare loop of forward passes
over random tensors in memory.

    python -m experiments.benchmark_evaluate model=vit_b32 tasks=offline8 limit=256
    paths.hub=DIR python -m experiments.benchmark_evaluate model=gpt2 limit=512
    dtype=bfloat16 device=cuda

Any model and tasks of the suite; the first task is timed, once its data are cached. The
bare loop runs the same module on random inputs of the same batches (images: normalised
floats, so that it has no preparation to do) and throws the outputs away. Both take
turns, and the median of the ratios counts. Weights do not matter: where there are no
experts, the base stands in with a head fitted to a batch. Adds to
results/benchmarks/evaluate.json and renders evaluate.md.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from experiments.benchmark_merge import seconds_of
from tadrop.app import build
from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import CONF
from tadrop.app.runs.opening import device_of, dtype_of
from tadrop.evaluation.bench import Bench, precision, score, set_up
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.modules import batches as batching
from tadrop.results.provenance import provenance
from tadrop.storage.checkpoint import Checkpoint
from tadrop.storage.files import write_text
from tadrop.types import TadropError
from tadrop.vectors.merged import Merged
from tadrop.vectors.task_vectors import TaskVectors

TARGET = CONF.parent / "results" / "benchmarks"
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


def stand_in(backbone: Any, base: Checkpoint, tasks: Any, task: str) -> Checkpoint:
    """A task's expert, or the base with a head where there is none."""
    try:
        return backbone.open_expert(task)
    except TadropError:
        if not hasattr(backbone, "first_head"):
            raise
        images, labels = next(iter(tasks.batches(task, "test")))
        module = set_up(backbone, base, {}, tasks, torch.device("cpu")).module
        return Checkpoint(
            base.path,
            base.files,
            {**base.tensors, **backbone.first_head(module, images, labels, task)},
        )


def opened(config: Mapping[str, Any]) -> tuple[Bench, Merged, str]:
    """The bench, a merge that changes nothing, and the task."""
    tasks = build.tasks(config["tasks"])
    backbone, task = instantiate(config["model"]).bound(tasks), tasks.names[0]
    base = backbone.open_base()
    experts = {task: stand_in(backbone, base, tasks, task)}
    device, dtype = device_of(config["device"]), dtype_of(config["dtype"])
    stream = TaskVectors(base, experts, tuple(backbone.private))
    untouched = merge(stream, Method(lambda taus: torch.zeros_like(taus[:1])))
    return set_up(backbone, base, experts, tasks, device, dtype), untouched, task


def random_like(tensor: Tensor) -> Tensor:
    """Random inputs of the same size: images ready for the model, or token ids without
    padding.
    """
    if tensor.dtype == torch.uint8:
        return torch.randn(len(tensor), 3, *tensor.shape[1:3])
    return (
        torch.randint(0, 1000, tensor.shape)
        if tensor.dtype == torch.long
        else torch.randn_like(tensor)
    )


def bare(bench: Bench, batches: Sequence[Any]) -> None:
    with torch.inference_mode(), precision(bench):
        for batch in batches:
            bench.module(batch)
    if bench.device.type == "cuda":
        torch.cuda.synchronize(bench.device)


def measured(config: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the page."""
    bench, untouched, task = opened(config)
    batches = [
        batching.moved(batching.each(random_like, x), bench.device)
        for x, _ in bench.tasks.batches(task, "test")
    ]
    examples = sum(map(batching.count, batches))
    turns = []
    bench.equip(task)
    bare(bench, batches[:1])  # warm up
    for _ in range(ROUNDS):
        ours = seconds_of(lambda: score(bench, untouched, task, "test"))
        turns.append((ours, seconds_of(lambda: bare(bench, batches))))
    shape = next(iter(bench.tasks.batches(task, "test")))[0]
    return {
        "model": bench.backbone.name,
        "input": f"{shape.shape[1]} px" if shape.dim() == 4 else "text",
        "batch": batching.count(shape),
        "device": str(bench.device)
        if bench.device.type == "cpu"
        else torch.cuda.get_device_name(bench.device),
        "processor": provenance()["machine"]["processor"],
        "threads": torch.get_num_threads(),
        "dtype": config["dtype"],
        "examples": examples,
        "suite": examples / median(ours for ours, _ in turns),
        "bare": examples / median(theirs for _, theirs in turns),
        "ratio": median(theirs / ours for ours, theirs in turns),
        "rounds": [[round(ours, 4), round(theirs, 4)] for ours, theirs in turns],
        "torch": torch.__version__,
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page, from the rows alone."""
    lines = [
        "# Evaluation against bare forward passes",
        "",
        "Examples a second, data cached; ratio: suite to bare.",
        "",
    ]
    lines += [
        "| " + " | ".join(COLUMNS) + " |",
        "|:--|:--|--:|:--|--:|:--|--:|--:|--:|",
    ]
    for row in rows:
        cells = [
            f"{v:.2f}"
            if c == "ratio"
            else f"{v:.1f}"
            if isinstance(v, float)
            else str(v)
            for c, v in of(row)
        ]
        lines.append("| " + " | ".join(cells) + " |")
    processors = sorted({f"{row['processor']}, torch {row['torch']}" for row in rows})
    return (
        "\n".join(
            [
                *lines,
                "",
                *processors,
                "",
                "Made by `python -m experiments.benchmark_evaluate`.",
            ]
        )
        + "\n"
    )


def of(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(column, row[column]) for column in COLUMNS]


def add(row: Mapping[str, Any], folder: Path) -> None:
    """Puts a row on the page, in the place of an older one of its kind."""
    file = folder / "evaluate.json"
    known = json.loads(file.read_text()) if file.exists() else []
    kind = ("model", "input", "batch", "device", "processor", "threads", "dtype")
    rows = [old for old in known if any(old[word] != row[word] for word in kind)] + [
        dict(row)
    ]
    rows.sort(key=lambda r: [str(r[word]) for word in kind])
    write_text(file, json.dumps(rows, indent=1) + "\n")
    write_text(folder / "evaluate.md", markdown(rows))


def main() -> None:
    with told_in_one_line():
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = OmegaConf.to_container(
                compose("config", sys.argv[1:]), resolve=True
            )
        row = measured(config)
    add(row, TARGET)
    out.print(
        f"{row['model']}: {row['suite']:.1f} a second, bare {row['bare']:.1f}, ratio {row['ratio']:.2f}"
    )


if __name__ == "__main__":
    main()
