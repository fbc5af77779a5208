"""Time and memory as models grow: more tasks, a larger model, one huge tensor."""

from pathlib import Path

from experiments.benchmarks.inputs import VIT_B32, VIT_L14, Inputs, floor_of, make
from experiments.benchmarks.page import Page, verdict
from experiments.benchmarks.processes import measured
from experiments.benchmarks.towers import MEMORY_LIMIT, METHODS

CHOSEN = ("Task Arithmetic", "TIES (global trim)", "EMR + TADrop")
HEAD = (
    "inputs",
    "method",
    "seconds",
    "floor",
    "ratio",
    "private MB",
    "",
    "mapped MB",
)


def memory_rows(inputs: Inputs, folder: Path, label: str) -> list[list[str]]:
    """A line for each of the chosen methods."""
    floor = floor_of(inputs, folder, 3)
    rows: list[list[str]] = []
    for name in CHOSEN:
        run = measured(inputs, folder / "out", METHODS[name].overrides)
        row = [
            label,
            name,
            f"{run.seconds:.2f}",
            f"{floor:.2f}",
            f"{run.seconds / floor:.1f}",
            f"{run.private / 1e6:.0f}",
            verdict(run.private <= MEMORY_LIMIT),
            f"{run.mapped / 1e6:.0f}",
        ]
        rows.append(row)
    return rows


def more_tasks(page: Page, folder: Path) -> None:
    """Private memory and time as the number of tasks doubles."""
    inputs = make(folder, VIT_B32, 32, 8)
    rows: list[list[str]] = []
    for count in (8, 16, 32):
        first = Inputs(inputs.base, inputs.experts[:count])
        rows += memory_rows(first, folder, f"{count} tasks")
    title = "Doubling the tasks (ViT-B/32 size; from the ninth on, experts are links)"
    page.add("tasks", title, HEAD, rows)


def large_model(page: Page, folder: Path) -> None:
    """Eight checkpoints of ViT-L/14 size."""
    inputs = make(folder, VIT_L14, 8, 2)
    rows = memory_rows(inputs, folder, "8 x ViT-L/14")
    title = "Eight vision towers of ViT-L/14 size (303 M entries; two files, linked)"
    page.add("large", title, HEAD, rows)


def single_tensor(page: Page, folder: Path) -> None:
    """One tensor of 500 M entries, two tasks."""
    inputs = make(folder, {"embedding.weight": (50_000, 10_000)}, 2, 1)
    rows = memory_rows(inputs, folder, "1 tensor, 2 tasks")
    page.add("single", "A single tensor of 500 M fp32 entries", HEAD, rows)
