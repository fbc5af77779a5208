"""How fast GPT-2 is evaluated, and what its largest tensor costs every sparsifier.

    python -m experiments.benchmark_text --folder DIR                 both sections
    python -m experiments.benchmark_text --folder DIR --only table    one section

It was run for the language path's promises, and is needed again when the evaluation
loop, the tokens' cache or a sparsifier change. It takes about five minutes on two
cores. It writes results/benchmarks/text.md and text.json; a run of one section keeps
the page's other.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from experiments.benchmarks.gpt2_files import write_model, write_sentences
from experiments.benchmarks.page import (
    PAGES,
    Page,
    earlier,
    seconds_of,
    verdict,
    write,
)
from tadrop.app.meter import Meter
from tadrop.app.places import CONF
from tadrop.app.runs import build
from tadrop.app.runs.opening import open_bench
from tadrop.app.terminal.entry import enter
from tadrop.evaluation.bench import Bench, score
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.protocols.streams import Sparsifier
from tadrop.sparsify.cut_stream import Sparse
from tadrop.storage.checkpoint import Checkpoint
from tadrop.vectors.passes import density
from tadrop.vectors.task_vectors import TaskVectors

SECTIONS = ("evaluate", "table")
FLOOR = 0.9  # of the bare forward passes' examples a second
WTE = (50_257, 768)
STATUS = Path("/proc/self/status")
HOW = """\
Everything is made in a folder under --folder (1.2 GB, removed at the end): a GPT-2 of
the small size with random weights, and sentences of random words, as long as GLUE's.
`evaluate` is the suite's own loop (tokens read from the cache, padding, forward,
grading) over one split; the floor is the same module over the same padded batches, made
beforehand. The two take turns; the share is the median of the ratios of neighbours, as
a machine's pace drifts. `table` plans every cut of wte (50,257 x 768) for two tasks and
reads the tensor through them; memory is the peak resident set above what lay there
before (base and experts)."""


def configured(folder: Path) -> dict[str, Any]:
    """The configuration of GPT-2 on one task, its files in a folder."""
    words = [
        "model=gpt2",
        f"paths.hub={folder}",
        f"paths.cache={folder}/cache",
        "tasks.names=[sst2]",
        "tasks.strict=false",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build.resolved(compose("config", words))


@torch.inference_mode()
def forward(bench: Bench, batches: list[Tensor]) -> None:
    """The floor: nothing but forward passes."""
    logits = torch.empty(0)
    for inputs in batches:
        logits = bench.module(inputs.to(bench.device))
    logits.sum().item()  # waits for the device


def evaluation_rate(page: Page, folder: Path, examples: int, repeat: int) -> None:
    """Examples a second of the suite's loop and of bare forward passes."""
    write_model(folder)
    write_sentences(folder, examples)
    bench, stream = open_bench(configured(folder))
    bench.load(bench.expert("sst2", stream.names))
    bench.equip("sst2")
    untouched = merge(stream, Method(merge=lambda taus: torch.zeros_like(taus[:1])))
    batches = [inputs for inputs, _ in bench.tasks.batches("sst2", "test")]
    work = {
        "forward": lambda: forward(bench, batches),
        "evaluate": lambda: score(bench, untouched, "sst2", "test"),
    }
    times = in_turns(work, repeat)
    share = median(map(truediv, times["forward"], times["evaluate"]))
    tokens = padded = 0
    for inputs in batches:
        tokens += int((inputs >= 0).sum())
        padded += inputs.numel()
    row = [
        examples,
        tokens,
        padded,
        f"{examples / median(times['evaluate']):.2f}",
        f"{examples / median(times['forward']):.2f}",
        f"{share:.3f}",
        FLOOR,
        verdict(share >= FLOOR),
    ]
    head = (
        "examples",
        "tokens",
        "padded",
        "examples/s",
        "bare forward",
        "share",
        "at least",
        "",
    )
    page.add("evaluate", f"GPT-2 small evaluated on {bench.device}", head, [row])


def in_turns(
    work: Mapping[str, Callable[[], object]],
    repeat: int,
) -> dict[str, list[float]]:
    """Seconds of every kind of work, each done so often, one after the other."""
    for warm_up in work.values():
        warm_up()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeat):
        for name, once in work.items():
            times[name].append(seconds_of(once))
    return times


def resident(key: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def rules() -> dict[str, Sparsifier]:
    """Every sparsifier there is, by its name in the configuration."""
    nodes: dict[str, Any] = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for path in sorted((CONF / "sparsify").glob("*.yaml")):
            words = f"sparsify={path.stem}"
            nodes[words] = compose("config", [words]).sparsify
        for norm in ("l1", "none"):
            words = [f"tadrop.norm={norm}"]
            nodes[f"tadrop {norm}"] = compose("config", words).tadrop
    known: dict[str, Sparsifier] = {}
    for name, node in nodes.items():
        rule = build.rule(node)
        if rule is not None:
            known[name] = rule
    return known


def wte(tasks: int = 2) -> TaskVectors:
    """Task vectors of a single tensor of wte's size, in memory."""
    name = "transformer.wte.weight"
    maker = torch.Generator().manual_seed(0)
    base = torch.randn(WTE, generator=maker) * 0.02
    experts: dict[str, Checkpoint] = {}
    for number in range(tasks):
        task = f"task{number}"
        tensor = base + torch.randn(WTE, generator=maker) * 1e-3
        experts[task] = Checkpoint(Path(task), (), {name: tensor})
    return TaskVectors(Checkpoint(Path("base"), (), {name: base}), experts)


def table_cost(page: Page) -> None:
    """Time and memory of every sparsifier on wte."""
    stream, entries = wte(), WTE[0] * WTE[1]
    known = rules()
    density(Sparse(stream, known["sparsify=magnitude"]))  # compiles the kernels
    rows: list[list[str]] = []
    for name, rule in known.items():
        sparse = Sparse(stream, rule)
        Meter()  # resets the high-water mark
        before = resident("VmRSS")
        plan = seconds_of(sparse.plan)
        start = time.perf_counter()
        kept = density(sparse)
        read = time.perf_counter() - start
        peak = (resident("VmHWM") - before) / 1e6
        rows.append([name, f"{plan:.2f}", f"{read:.2f}", f"{peak:.0f}", f"{kept:.4f}"])
    head = ("sparsifier", "plan, s", "read through it, s", "peak memory, MB", "kept")
    size = f"{entries / 1e6:.1f} M entries, two tasks ({entries * 4 / 1e6:.0f} MB each)"
    page.add("table", f"wte, {size}", head, rows)


def main() -> None:
    """Measures the sections that are asked for, then writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="a place with 1.2 GB to spare"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--rows", type=int, default=32, help="sentences")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--results", type=Path, default=PAGES)
    options = parser.parse_args()
    stem = options.results / "text"
    page = earlier(stem)
    if "evaluate" in options.only:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="text.") as folder:
            evaluation_rate(page, Path(folder), options.rows, options.repeat)
    if "table" in options.only:
        table_cost(page)
    command = "python -m experiments.benchmark_text --folder DIR"
    write(
        page, SECTIONS, stem, "GPT-2: evaluation and its largest tensor", HOW, command
    )


if __name__ == "__main__":
    enter()
    main()
