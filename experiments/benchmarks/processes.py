"""Runs merges and commands in processes of their own,
and measures them from outside.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from experiments.benchmarks.inputs import Inputs
from experiments.benchmarks.page import ROOT

INTERVAL = 0.004  # seconds between two looks at a process's memory


@dataclass(frozen=True)
class Run:
    """One merge in a process of its own: seconds, and bytes of memory at their peaks.

    seconds:        from opening the first input to closing the last output
    processor:      the same, of all threads together
    planning:       of `seconds`, what quantiles and thresholds took before the merge
    decompositions: of `seconds`, what passed inside torch.linalg
    imports:        of the interpreter's imports and the configuration
    command:        of the whole process
    private:        memory above what it was after the imports
    mapped:         pages of mapped input files
    output:         bytes on disk
    """

    seconds: float
    processor: float
    planning: float
    decompositions: float
    imports: float
    command: float
    private: int
    mapped: int
    output: int


def memory(process: int) -> dict[str, int]:
    """Resident bytes of a process by kind: RssAnon, RssFile, RssShmem."""
    kinds: dict[str, int] = {}
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.startswith("Rss"):
            kinds[key] = int(value.split()[0]) * 1024
    return kinds


def measured(inputs: Inputs, out: Path, overrides: Sequence[str]) -> Run:
    """Runs a merge in a new process and watches its memory.

    What was written before is on disk when it starts.
    """
    os.sync()
    words = [*inputs.overrides(out), *overrides]
    command = [sys.executable, "-m", "experiments.benchmarks.child", *words]
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        before = _answer(process)
        private, mapped = _peaks(process)
        after = _answer(process)
    if process.wait() or not after:
        raise SystemExit(f"failed: {shlex.join(command)}")
    seconds = time.perf_counter() - start
    shutil.rmtree(out)
    return Run(
        imports=before["imports"],
        command=seconds,
        private=max(private - before["private"], 0),
        mapped=mapped,
        **after,
    )


def _answer(process: subprocess.Popen) -> dict:
    """The next line of JSON that a process prints; empty if it prints no more."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline() or "{}")


def _peaks(process: subprocess.Popen) -> tuple[int, int]:
    """The most private and the most mapped memory of a process until it ends."""
    private = mapped = 0
    while process.poll() is None:
        try:
            resident = memory(process.pid)
        except (OSError, ValueError):
            break
        private = max(private, resident.get("RssAnon", 0))
        mapped = max(mapped, resident.get("RssFile", 0))
        time.sleep(INTERVAL)
    return private, mapped


def repeated(times: int, inputs: Inputs, out: Path, overrides: Sequence[str]) -> Run:
    """The run of median time, with the highest memory of all."""
    runs = [measured(inputs, out, overrides) for _ in range(times)]
    runs.sort(key=attrgetter("seconds"))
    private = max(map(attrgetter("private"), runs))
    mapped = max(map(attrgetter("mapped"), runs))
    return replace(runs[len(runs) // 2], private=private, mapped=mapped)


def timed(command: Sequence[str], out: Path) -> float:
    """Seconds of a whole command; what it wrote is removed."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    shutil.rmtree(out, ignore_errors=True)
    return seconds


def run_py(words: Sequence[str]) -> None:
    """python run.py with these words, silently."""
    subprocess.run(
        [sys.executable, "run.py", *words],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
