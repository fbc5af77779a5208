"""Whole commands as a user types them: startup, a run, a sweep, and other tools'."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from experiments.benchmarks.inputs import Inputs
from experiments.benchmarks.page import Page, seconds_of, verdict
from experiments.benchmarks.processes import run_py, timed

STARTUP_LIMIT = 2.0  # seconds for --help and --cfg job
POINT = ("merge=task_arithmetic", "tadrop=on")
GRID = ("tadrop.q_lo=0.1,0.3,0.5,0.7,0.8", "tadrop.q_hi=0.85,0.9,0.95,0.98,0.99")
POINTS = 25  # of the grid


def whole_command(inputs: Inputs, out: Path, floor: float, limit: float) -> list[str]:
    """python run.py ... merge=ties, interpreter and imports included."""
    words = [*inputs.overrides(out), "merge=ties", "tadrop=off"]
    seconds = timed([sys.executable, "run.py", *words], out)
    return [
        "python run.py ... merge=ties",
        f"{seconds:.2f}",
        f"{seconds / floor:.1f}",
        verdict(seconds <= limit),
    ]


def other_command(command: str, inputs: Inputs, out: Path, floor: float) -> list[str]:
    """Another tool's command on the same files."""
    names = list(map(str, inputs.experts))
    filled = command.format(
        base=inputs.base, experts=" ".join(names), list=",".join(names), out=out
    )
    seconds = timed(shlex.split(filled), out)
    return [f"`{command}`", f"{seconds:.2f}", f"{seconds / floor:.1f}", ""]


def startup(page: Page) -> None:
    """What answers without computing anything."""
    rows: list[list[str]] = []
    for words in (["--help"], ["--cfg", "job"]):
        seconds = median(_seconds_of_run(words) for _ in range(5))
        command = f"python run.py {' '.join(words)}"
        rows.append([command, f"{seconds:.2f}", verdict(seconds <= STARTUP_LIMIT)])
    note = f"Medians of five; at most {STARTUP_LIMIT:.0f} s."
    page.add("startup", "Startup", ("command", "seconds", ""), rows, note)


def _seconds_of_run(words: Sequence[str]) -> float:
    return seconds_of(lambda: run_py(words))


def sweep(page: Page, folder: Path) -> None:
    """Where a run on the embedded model spends its time,
    and what a sweep of it costs.
    """
    records = folder / "records"
    cold = _seconds_of_run([*POINT, f"paths.records={records}"])
    title = "One run on the embedded model, with its two reference rows: 3 models on 8 tasks"
    rows = _phase_rows(records, cold)
    page.add("embedded", title, ("part", "seconds", "share"), rows)

    words = ["-m", *POINT, *GRID, f"paths.records={folder / 'swept'}"]
    seconds = _seconds_of_run(words)
    share = seconds / (POINTS * cold)
    row = [
        f"{seconds:.0f}",
        f"{cold:.1f}",
        f"{seconds / POINTS:.1f}",
        f"{share:.2f}",
        "0.33",
        verdict(share <= 1 / 3),
    ]
    head = (
        "25 points s",
        "a cold run s",
        "a point s",
        "sweep / 25 cold runs",
        "at most",
        "",
    )
    page.add("sweep", "A sweep of 25 pairs of quantiles", head, [row])


def _phase_rows(records: Path, whole: float) -> list[list[str]]:
    """The stages that the records tell of, and what is left of the whole command."""
    phases: Counter[str] = Counter()
    for file in records.glob("*.json"):
        phases.update(json.loads(file.read_text(encoding="utf-8"))["seconds"])
    parts = {"the whole command": whole}
    for name, seconds in phases.items():
        if seconds >= 0.05:
            parts[name] = seconds
    rest = whole - sum(phases.values())
    parts["interpreter, imports, configuration, data"] = rest
    rows: list[list[str]] = []
    for name, seconds in parts.items():
        rows.append([name, f"{seconds:.1f}", f"{seconds / whole:.0%}"])
    return rows
