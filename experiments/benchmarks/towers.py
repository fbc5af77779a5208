"""Merging eight vision towers of ViT-B/32 size: every method against the floor."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from experiments.benchmarks.commands import other_command, whole_command
from experiments.benchmarks.inputs import VIT_B32, floor_of, make
from experiments.benchmarks.page import Page, verdict
from experiments.benchmarks.processes import Run, measured, repeated

MEMORY_LIMIT = 600e6  # bytes of private memory above the imports
COMMAND_LIMIT = 15.0  # seconds for the whole TIES command
HEAD = (
    "method",
    "seconds",
    "floor",
    "ratio",
    "at most",
    "",
    "planning s",
    "cores busy",
    "private MB",
    "",
    "mapped MB",
    "imports s",
    "output MB",
)
WHERE = """\
Planning is what quantiles and thresholds take: a pass that counts every magnitude and
one that takes out the few among which the thresholds lie. A tensor of up to 4 M entries
is read once for both, a vector of the whole model twice. The rest reads everything once
more and merges (TIES twice: its fallback sign is the whole model's), counts what is not
zero for the record, and writes. Work on a tensor releases the interpreter; what is left
of it (a few hundred microseconds a tensor and task) keeps two cores from being busy
throughout."""


class Goal(NamedTuple):
    """A method as the configuration names it, and the most floors it may take."""

    overrides: tuple[str, ...]
    most: float


METHODS = {
    "Weight Averaging": Goal(("merge=average", "tadrop=off"), 2),
    "Task Arithmetic": Goal(("merge=task_arithmetic", "tadrop=off"), 2),
    "EMR": Goal(("merge=emr", "tadrop=off"), 4),
    "DARE": Goal(("merge=dare", "tadrop=off"), 4),
    "Task Arithmetic + TADrop": Goal(("merge=task_arithmetic", "tadrop=on"), 4),
    "TIES (global trim)": Goal(("merge=ties", "tadrop=off"), 6),
    "TIES + TADrop": Goal(("merge=ties", "tadrop=on"), 6),
    "EMR + TADrop": Goal(("merge=emr", "tadrop=on"), 6),
}


def towers(page: Page, folder: Path, repeat: int, others: Sequence[str]) -> None:
    """The methods of METHODS, the whole TIES command, and other tools' commands."""
    inputs, out = make(folder, VIT_B32, 8, 8), folder / "out"
    runs: dict[str, Run] = {}
    floors: list[float] = []
    for name, goal in METHODS.items():
        # A machine is not equally fast all the time, so the floor is taken each time.
        floors.append(floor_of(inputs, folder))
        runs[name] = repeated(repeat, inputs, out, goal.overrides)
    floor = median(floors)
    rows = [method_row(name, run, floor) for name, run in runs.items()]
    title = "Eight fp32 vision towers of ViT-B/32 size (87.5 M entries each)"
    page.add("towers", title, HEAD, rows, WHERE)

    rows = [whole_command(inputs, out, floor, COMMAND_LIMIT)]
    for command in others:
        rows.append(other_command(command, inputs, out, floor))
    note = (
        "The whole TIES command, interpreter and imports included, "
        f"may take {COMMAND_LIMIT:.0f} s."
    )
    head = ("command", "seconds", "times the floor", "")
    page.add("commands", "Whole commands on the same files", head, rows, note)


def method_row(name: str, run: Run, floor: float) -> list[str]:
    """A method's line of the table."""
    ratio, most = run.seconds / floor, METHODS[name].most
    return [
        name,
        f"{run.seconds:.2f}",
        f"{floor:.2f}",
        f"{ratio:.1f}",
        f"{most}",
        verdict(ratio <= most),
        f"{run.planning:.2f}",
        f"{run.processor / run.seconds:.1f}",
        f"{run.private / 1e6:.0f}",
        verdict(run.private <= MEMORY_LIMIT),
        f"{run.mapped / 1e6:.0f}",
        f"{run.imports:.2f}",
        f"{run.output / 1e6:.0f}",
    ]


def every_row() -> list[str]:
    """The rows that merge entry by entry and look at no data."""
    from hydra import compose, initialize_config_dir

    from tadrop.app.places import CONF

    names: list[str] = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for path in sorted((CONF / "merge").glob("*.yaml")):
            row = compose("config", [f"merge={path.stem}"]).merge
            looks = row.data != "none" or row.get("statistics") or row.get("refine")
            if not looks and row.method.get("scope", "entry") == "entry":
                names.append(row.name)
    return names


def every_method(page: Page, folder: Path) -> None:
    """Time and peak private memory of every row that merges entry by entry."""
    inputs = make(folder, VIT_B32, 8, 8)
    floor = floor_of(inputs, folder)
    rows: list[list[str]] = []
    for name in every_row():
        run = measured(inputs, folder / "out", [f"merge={name}", "tadrop=off"])
        row = [
            f"merge={name}",
            f"{run.seconds:.2f}",
            f"{run.seconds / floor:.1f}",
            f"{run.private / 1e6:.0f}",
            verdict(run.private <= MEMORY_LIMIT),
        ]
        rows.append(row)
    title = "Every row that merges entry by entry, eight ViT-B/32 towers, one run each"
    head = ("row", "seconds", "times the floor", "private MB", "")
    page.add("methods", title, head, rows)
