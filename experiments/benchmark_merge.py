"""How long merging checkpoints on disk takes and how much memory it needs, against a
plain copy of the same files.

    python -m experiments.benchmark_merge --folder DIR                  everything; writes results/benchmarks/merge.*
    python -m experiments.benchmark_merge --folder DIR --only towers        one section; the page keeps its others
    python -m experiments.benchmark_merge --folder DIR --vs 'COMMAND'       also times another tool on the same files

Inputs are synthetic checkpoints of the shapes of CLIP's vision towers, made in a new
folder under --folder (about 7 GB at a time) that is removed at the end. In COMMAND,
{base}, {experts} (separated by spaces), {list} (by commas) and {out} stand for folders.

Every figure is a ratio to the floor, measured on the same files just before: reading
all of them once and writing one, with a plain loop over an 8 MB buffer, files in the
page cache, nothing left to write back. A run is a process of its own; the clock runs
from opening the first input to closing the last output, and the start of the
interpreter and the imports are reported beside it. Memory is sampled every few
milliseconds: private memory is RssAnon (heap, stacks, buffers) above what it was after
the imports; pages of mapped input files count as RssFile, belong to the page cache and
are given back under pressure.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from types import ModuleType

ROOT = Path(__file__).parents[1]
METHODS = {  # name -> (overrides, most times the floor)
    "Weight Averaging": (("merge=average", "tadrop=off"), 2),
    "Task Arithmetic": (("merge=task_arithmetic", "tadrop=off"), 2),
    "EMR": (("merge=emr", "tadrop=off"), 4),
    "DARE": (("merge=dare", "tadrop=off"), 4),
    "Task Arithmetic + TADrop": (("merge=task_arithmetic", "tadrop=on"), 4),
    "TIES (global trim)": (("merge=ties", "tadrop=off"), 6),
    "TIES + TADrop": (("merge=ties", "tadrop=on"), 6),
    "EMR + TADrop": (("merge=emr", "tadrop=on"), 6),
}
MEMORY_METHODS = ("Task Arithmetic", "TIES (global trim)", "EMR + TADrop")
MEMORY_LIMIT = 600e6  # bytes of private memory above the imports
COMMAND_LIMIT = 15.0  # seconds for the whole TIES command
STARTUP_LIMIT = 2.0  # seconds for --help and --cfg job
SECTIONS = (
    "towers",
    "methods",
    "tasks",
    "large",
    "single",
    "spectral",
    "tadrop",
    "startup",
    "sweep",
)
PARTS = ("towers", "commands", *SECTIONS[1:-1], "embedded", "sweep")  # of the page
WHERE = """Planning is what quantiles and thresholds take: a pass that counts every magnitude and one that takes out the
few among which the thresholds lie. A tensor of up to 4 M entries is read once for both, a vector of the whole model
twice. The rest reads everything once more and merges (TIES twice: its fallback sign is the whole model's), counts what
is not zero for the record, and writes. Work on a tensor releases the interpreter; what is left of it (a few hundred
microseconds a tensor and task) keeps two cores from being busy throughout."""
MATRICES = '+model.matrices=[{names: "encoder.layers.*_proj.weight"}, {names: "encoder.layers.*.mlp.fc?.weight"}]'

Shapes = Mapping[str, tuple[int, ...]]


def vision_tower(
    width: int, layers: int, patch: int, tokens: int
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a CLIP vision tower as transformers stores it."""
    norm = lambda name: {f"{name}.weight": (width,), f"{name}.bias": (width,)}  # noqa: E731
    linear = lambda name, out, into: {
        f"{name}.weight": (out, into),
        f"{name}.bias": (out,),
    }  # noqa: E731
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (width,),
        "embeddings.patch_embedding.weight": (width, 3, patch, patch),
        "embeddings.position_embedding.weight": (tokens, width),
    }
    for i in range(layers):
        at = f"encoder.layers.{i}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{at}.self_attn.{projection}", width, width)
        shapes |= linear(f"{at}.mlp.fc1", 4 * width, width) | linear(
            f"{at}.mlp.fc2", width, 4 * width
        )
        shapes |= norm(f"{at}.layer_norm1") | norm(f"{at}.layer_norm2")
    return shapes | norm("pre_layrnorm") | norm("post_layernorm")


VIT_B32 = vision_tower(768, 12, 32, 50)
VIT_L14 = vision_tower(1024, 24, 14, 257)


@dataclass(frozen=True)
class Inputs:
    """A base and experts on disk; some experts may be links to the same file."""

    base: Path
    experts: tuple[Path, ...]

    def overrides(self, out: Path) -> list[str]:
        experts = ",".join(map(str, self.experts))
        return [
            "model=local",
            f"model.base={self.base}",
            f"model.experts=[{experts}]",
            "evaluate=false",
            f"export.dir={out}",
        ]


@dataclass(frozen=True)
class Run:
    """One merge in a process of its own: seconds, and bytes of memory at their peaks."""

    seconds: float
    imports: float
    command: float
    private: int
    mapped: int
    output: int
    decompositions: float  # seconds of `seconds` inside torch.linalg
    # seconds of `seconds` that quantiles and thresholds took, before anything was
    # merged
    planning: float
    processor: float  # seconds of all threads together


@dataclass
class Page:
    """What is measured, section by section, as rows of a table."""

    sections: dict[str, dict] = field(default_factory=dict)

    def add(
        self,
        name: str,
        title: str,
        head: Sequence[str],
        rows: Sequence[Sequence[object]],
        notes: str = "",
    ) -> None:
        self.sections[name] = {
            "title": title,
            "head": list(head),
            "rows": [list(r) for r in rows],
            "notes": notes,
        }
        print(render_section(self.sections[name]), flush=True)


def make(folder: Path, shapes: Shapes, experts: int, distinct: int) -> Inputs:
    """A base of normal weights and experts a small step away; from `distinct` on,
    experts are hard links.
    """
    import torch

    from tadrop.storage.files import write_tensors

    maker = torch.Generator().manual_seed(0)
    draw = lambda scale: {
        n: torch.randn(s, generator=maker) * scale for n, s in shapes.items()
    }  # noqa: E731
    base = draw(0.02)
    write_tensors(folder / "base" / "model.safetensors", base, {"format": "pt"})
    for i in range(experts):
        file = folder / f"expert{i:02}" / "model.safetensors"
        if i < distinct:
            write_tensors(
                file, {n: t + base[n] for n, t in draw(0.001).items()}, {"format": "pt"}
            )
        else:
            file.parent.mkdir()
            os.link(folder / f"expert{i % distinct:02}" / "model.safetensors", file)
    return Inputs(
        folder / "base", tuple(folder / f"expert{i:02}" for i in range(experts))
    )


def floor_of(inputs: Inputs, folder: Path, times: int = 5) -> float:
    """The median of so many copies, after one that brings the files into the page cache
    and earlier writes to disk.
    """
    copy_floor(inputs, folder / "copy")
    os.sync()
    return median(copy_floor(inputs, folder / "copy") for _ in range(times))


def copy_floor(inputs: Inputs, out: Path) -> float:
    """Seconds to read every input file once and write one of them: what no merge can go
    below.
    """
    buffer = memoryview(bytearray(8 << 20))
    start = time.perf_counter()
    for folder in (*inputs.experts, inputs.base):
        with (folder / "model.safetensors").open("rb", buffering=0) as source:
            target = out.open("wb", buffering=0) if folder == inputs.base else None
            while count := source.readinto(buffer):
                if target:
                    target.write(buffer[:count])
            if target:
                target.close()
    seconds = time.perf_counter() - start
    out.unlink()
    return seconds


def child(overrides: Sequence[str]) -> None:
    """What a measured process does: imports, a line with its own footprint, the merge,
    a line with its time.
    """
    began = time.perf_counter()
    import torch
    from hydra import compose, initialize_config_dir

    from tadrop.app.runs import exporting, preparing
    from tadrop.numerics import formula_kernels as kernels  # noqa: F401  compiled, or read from the cache, as imports are

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", list(overrides))
    imports = time.perf_counter() - began
    print(
        json.dumps({"imports": imports, "private": memory(os.getpid())["RssAnon"]}),
        flush=True,
    )
    inside, planning = (
        clocked(torch.linalg, ("svd", "eigh", "qr")),
        clocked(preparing, ("_cut",)),
    )
    start, busy = time.perf_counter(), time.process_time()
    written = exporting.merge_only(cfg)
    times = {
        "seconds": time.perf_counter() - start,
        "processor": time.process_time() - busy,
    }
    times |= {"decompositions": sum(inside), "planning": sum(planning)}
    print(json.dumps(times | {"output": written.bytes}), flush=True)


def clocked(module: ModuleType, names: Sequence[str]) -> list[float]:
    """Seconds of every call of these functions from now on; the list grows as they are
    called.
    """
    inside: list[float] = []

    def timing(function: Callable) -> Callable:
        def call(*args: object, **words: object) -> object:
            start = time.perf_counter()
            try:
                return function(*args, **words)
            finally:
                inside.append(time.perf_counter() - start)

        return call

    for name in names:
        setattr(module, name, timing(getattr(module, name)))
    return inside


def memory(process: int) -> dict[str, int]:
    """Resident bytes of a process by kind: RssAnon, RssFile, RssShmem."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {
        k: int(v.split()[0]) * 1024
        for k, v in (line.split(":", 1) for line in lines)
        if k.startswith("Rss")
    }


def measured(inputs: Inputs, out: Path, overrides: Sequence[str]) -> Run:
    """Runs a merge in a new process and watches its memory; what was written before is
    on disk when it starts.
    """
    os.sync()
    command = [
        sys.executable,
        "-m",
        "experiments.benchmark_merge",
        "--child",
        *inputs.overrides(out),
        *overrides,
    ]
    start = time.perf_counter()
    private = mapped = 0
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        before = json.loads(process.stdout.readline() or "{}")
        while process.poll() is None:
            try:
                now = memory(process.pid)
            except (OSError, ValueError):
                break
            private, mapped = (
                max(private, now.get("RssAnon", 0)),
                max(mapped, now.get("RssFile", 0)),
            )
            time.sleep(0.004)
        after = json.loads(process.stdout.readline() or "{}")
    if process.wait() or not after:
        raise SystemExit(f"failed: {shlex.join(command)}")
    command_seconds = time.perf_counter() - start
    shutil.rmtree(out)
    above = max(private - before["private"], 0)
    return Run(
        imports=before["imports"],
        command=command_seconds,
        private=above,
        mapped=mapped,
        **after,
    )


def repeated(times: int, measure: Callable[[], Run]) -> Run:
    """The run of median time, with the highest memory of all."""
    runs = sorted((measure() for _ in range(times)), key=lambda run: run.seconds)
    middle = asdict(runs[len(runs) // 2])
    return Run(
        **middle
        | {
            "private": max(r.private for r in runs),
            "mapped": max(r.mapped for r in runs),
        }
    )


def verdict(met: bool) -> str:
    return "met" if met else "not met"


def towers(page: Page, folder: Path, repeat: int, others: Sequence[str]) -> None:
    """Every method on eight ViT-B/32 towers; the whole TIES command; other tools'
    commands.
    """
    inputs, out = make(folder, VIT_B32, 8, 8), folder / "out"
    runs, floors = {}, []
    for (
        name,
        (
            overrides,
            _,
        ),
    ) in (
        METHODS.items()
    ):  # floors in between, for a machine is not equally fast all the time
        floors.append(floor_of(inputs, folder))
        runs[name] = repeated(
            repeat, lambda overrides=overrides: measured(inputs, out, overrides)
        )
    floor = median(floors)
    rows = [
        towers_row(name, run, floor, METHODS[name][1]) for name, run in runs.items()
    ]
    head = (
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
    page.add(
        "towers",
        "Eight fp32 vision towers of ViT-B/32 size (87.5 M entries each)",
        head,
        rows,
        WHERE,
    )
    rows = [whole_command(inputs, out, floor)]
    for command in others:
        rows.append(other_command(command, inputs, out, floor))
    note = f"The whole TIES command, interpreter and imports included, may take {COMMAND_LIMIT:.0f} s."
    page.add(
        "commands",
        "Whole commands on the same files",
        ("command", "seconds", "times the floor", ""),
        rows,
        note,
    )


def towers_row(name: str, run: Run, floor: float, most: float) -> list[str]:
    ratio, ok = run.seconds / floor, run.private <= MEMORY_LIMIT
    times = [
        f"{run.seconds:.2f}",
        f"{floor:.2f}",
        f"{ratio:.1f}",
        f"{most}",
        verdict(ratio <= most),
    ]
    where = [f"{run.planning:.2f}", f"{run.processor / run.seconds:.1f}"]
    space = [
        f"{run.private / 1e6:.0f}",
        verdict(ok),
        f"{run.mapped / 1e6:.0f}",
        f"{run.imports:.2f}",
    ]
    return [name, *times, *where, *space, f"{run.output / 1e6:.0f}"]


def whole_command(inputs: Inputs, out: Path, floor: float) -> list[str]:
    """python run.py ... merge=ties as a user types it."""
    command = [
        sys.executable,
        "run.py",
        *inputs.overrides(out),
        "merge=ties",
        "tadrop=off",
    ]
    seconds = timed(command, out)
    return [
        "python run.py ... merge=ties",
        f"{seconds:.2f}",
        f"{seconds / floor:.1f}",
        verdict(seconds <= COMMAND_LIMIT),
    ]


def other_command(command: str, inputs: Inputs, out: Path, floor: float) -> list[str]:
    """Another tool's command on the same files."""
    names = [str(path) for path in inputs.experts]
    filled = command.format(
        base=inputs.base, experts=" ".join(names), list=",".join(names), out=out
    )
    seconds = timed(shlex.split(filled), out)
    return [f"`{command}`", f"{seconds:.2f}", f"{seconds / floor:.1f}", ""]


def timed(command: Sequence[str], out: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    shutil.rmtree(out, ignore_errors=True)
    return seconds


def memory_rows(
    inputs: Inputs, folder: Path, label: str, names: Sequence[str]
) -> list[list[str]]:
    floor, rows = floor_of(inputs, folder, 3), []
    for name in names:
        run = measured(inputs, folder / "out", METHODS[name][0])
        numbers = [
            f"{run.seconds:.2f}",
            f"{floor:.2f}",
            f"{run.seconds / floor:.1f}",
            f"{run.private / 1e6:.0f}",
        ]
        rows.append(
            [
                label,
                name,
                *numbers,
                verdict(run.private <= MEMORY_LIMIT),
                f"{run.mapped / 1e6:.0f}",
            ]
        )
    return rows


MEMORY_HEAD = (
    "inputs",
    "method",
    "seconds",
    "floor",
    "ratio",
    "private MB",
    "",
    "mapped MB",
)


def more_tasks(page: Page, folder: Path) -> None:
    """Private memory and time as the number of tasks doubles."""
    inputs = make(folder, VIT_B32, 32, 8)
    rows = []
    for count in (8, 16, 32):
        some = Inputs(inputs.base, inputs.experts[:count])
        rows += memory_rows(some, folder, f"{count} tasks", MEMORY_METHODS)
    page.add(
        "tasks",
        "Doubling the tasks (ViT-B/32 size; from the ninth on, experts are links)",
        MEMORY_HEAD,
        rows,
    )


def every_row() -> list[str]:
    """The rows that merge entry by entry and look at no data."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        rows = [
            compose("config", [f"merge={p.stem}"]).merge
            for p in sorted((ROOT / "conf" / "merge").glob("*.yaml"))
        ]
    plain = [
        row
        for row in rows
        if row.data == "none" and not row.get("statistics") and not row.get("refine")
    ]
    return [row.name for row in plain if row.method.get("scope", "entry") == "entry"]


def every_method(page: Page, folder: Path) -> None:
    """Time and peak private memory of every row that merges entry by entry."""
    inputs = make(folder, VIT_B32, 8, 8)
    floor = floor_of(inputs, folder)
    rows = []
    for name in every_row():
        run = measured(inputs, folder / "out", [f"merge={name}", "tadrop=off"])
        numbers = [
            f"{run.seconds:.2f}",
            f"{run.seconds / floor:.1f}",
            f"{run.private / 1e6:.0f}",
        ]
        rows.append([f"merge={name}", *numbers, verdict(run.private <= MEMORY_LIMIT)])
    head = ("row", "seconds", "times the floor", "private MB", "")
    page.add(
        "methods",
        "Every row that merges entry by entry, eight ViT-B/32 towers, one run each",
        head,
        rows,
    )


def spectral(page: Page, folder: Path) -> None:
    """How much of a spectral method's time is spent in the decompositions themselves."""
    inputs = make(folder, vision_tower(768, 2, 32, 50), 4, 4)
    rows = []
    for name in ("tsv_m", "iso_c"):
        run = measured(
            inputs, folder / "out", [f"merge={name}", "tadrop=off", MATRICES]
        )
        numbers = [
            f"{run.seconds:.2f}",
            f"{run.decompositions:.2f}",
            f"{run.decompositions / run.seconds:.0%}",
        ]
        rows.append([f"merge={name}", *numbers, f"{run.private / 1e6:.0f}"])
    head = ("row", "seconds", "in torch.linalg", "share", "private MB")
    title = "Spectral methods, scaled down: two of ViT-B/32's twelve layers, four tasks"
    page.add(
        "spectral",
        title,
        head,
        rows,
        "The SVDs of all tasks of one matrix are one batched call, in float64.",
    )


def large_model(page: Page, folder: Path) -> None:
    """Eight checkpoints of ViT-L/14 size."""
    inputs = make(folder, VIT_L14, 8, 2)
    rows = memory_rows(inputs, folder, "8 x ViT-L/14", MEMORY_METHODS)
    page.add(
        "large",
        "Eight vision towers of ViT-L/14 size (303 M entries; two files, linked)",
        MEMORY_HEAD,
        rows,
    )


def single_tensor(page: Page, folder: Path) -> None:
    """One tensor of 500 M entries, two tasks."""
    inputs = make(folder, {"embedding.weight": (50_000, 10_000)}, 2, 1)
    rows = memory_rows(inputs, folder, "1 tensor, 2 tasks", MEMORY_METHODS)
    page.add("single", "A single tensor of 500 M fp32 entries", MEMORY_HEAD, rows)


def tadrop_alone(page: Page) -> None:
    """Quantiles, threshold and rescale of one tensor in memory, against reading and
    writing it once.
    """
    import torch

    from tadrop import tadrop_

    tadrop_(torch.randn(1 << 20))  # imports and compiled kernels
    rows = []
    for size in (25_000_000, 50_000_000, 100_000_000):
        tau, out = torch.randn(size), torch.zeros(size)
        for quantiles in ((0.3, 0.9), (0.1, 0.5), (0.8, 0.99)):
            copies, drops = [], []
            for _ in range(
                5
            ):  # a copy before each, so that every call sees the same tensor
                copies.append(seconds_of(lambda tau=tau, out=out: out.copy_(tau)))
                drops.append(
                    seconds_of(
                        lambda out=out, quantiles=quantiles: tadrop_(out, *quantiles)
                    )
                )
            floor, seconds = median(copies), median(drops)
            times = [
                f"{seconds:.3f}",
                f"{floor:.3f}",
                f"{seconds / floor:.1f}",
                "6",
                verdict(seconds <= 6 * floor),
            ]
            rows.append([f"{size / 1e6:.0f} M", "{}, {}".format(*quantiles), *times])
    head = ("entries", "quantiles", "seconds", "read and write", "ratio", "at most", "")
    title = "TADrop alone on one fp32 tensor in memory"
    page.add(
        "tadrop",
        title,
        head,
        rows,
        f"Copy and TADrop on {torch.get_num_threads()} threads, medians of five.",
    )


def startup(page: Page) -> None:
    """What answers without computing anything."""
    rows = []
    for words in (["--help"], ["--cfg", "job"]):
        seconds = median(
            seconds_of(lambda words=words: run_py(words)) for _ in range(5)
        )
        rows.append(
            [
                f"python run.py {' '.join(words)}",
                f"{seconds:.2f}",
                verdict(seconds <= STARTUP_LIMIT),
            ]
        )
    page.add(
        "startup",
        "Startup",
        ("command", "seconds", ""),
        rows,
        f"Medians of five; at most {STARTUP_LIMIT:.0f} s.",
    )


def sweep(page: Page, folder: Path) -> None:
    """Where a run on the embedded model spends its time, and what 25 points cost in one
    sweep and one by one.
    """
    point, records = ["merge=task_arithmetic", "tadrop=on"], folder / "records"
    cold = seconds_of(lambda: run_py([*point, f"paths.records={records}"]))
    phases: Counter = Counter()
    for file in records.glob("*.json"):
        phases.update(json.loads(file.read_text())["seconds"])
    rows = [["the whole command", f"{cold:.1f}", "100%"]]
    rows += [
        [name, f"{seconds:.1f}", f"{seconds / cold:.0%}"]
        for name, seconds in phases.items()
        if seconds >= 0.05
    ]
    rest = cold - sum(phases.values())
    rows.append(
        [
            "interpreter, imports, configuration, data",
            f"{rest:.1f}",
            f"{rest / cold:.0%}",
        ]
    )
    title = "One run on the embedded model, with its two reference rows: 3 models on 8 tasks"
    page.add("embedded", title, ("part", "seconds", "share"), rows)
    grid = ["tadrop.q_lo=0.1,0.3,0.5,0.7,0.8", "tadrop.q_hi=0.85,0.9,0.95,0.98,0.99"]
    swept = seconds_of(
        lambda: run_py(["-m", *point, *grid, f"paths.records={folder / 'swept'}"])
    )
    share = swept / (25 * cold)
    row = [
        f"{swept:.0f}",
        f"{cold:.1f}",
        f"{swept / 25:.1f}",
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


def run_py(words: Sequence[str]) -> None:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, "run.py", *words], cwd=ROOT, check=True, **quiet)


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def machine() -> dict[str, object]:
    import torch

    names = [
        line.split(":")[1].strip()
        for line in _lines("/proc/cpuinfo")
        if line.startswith("model name")
    ]
    total = next(
        (
            line.split()[1]
            for line in _lines("/proc/meminfo")
            if line.startswith("MemTotal")
        ),
        "0",
    )
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(total) / 1e6),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def render_section(section: Mapping) -> str:
    lines = [f"## {section['title']}", "", "| " + " | ".join(section["head"]) + " |"]
    lines.append("|" + " --- |" * len(section["head"]))
    lines += [
        "| " + " | ".join(str(cell) for cell in row) + " |" for row in section["rows"]
    ]
    return (
        "\n".join(lines + (["", section["notes"]] if section["notes"] else [])) + "\n"
    )


def earlier(stem: Path) -> Page:
    """The page as it was left, so that a run of some sections keeps the others; empty
    where there is none.
    """
    file = stem.with_suffix(".json")
    return Page(json.loads(file.read_text())["sections"] if file.exists() else {})


def write(
    page: Page, parts: Sequence[str], stem: Path, title: str, how: str, command: str
) -> None:
    """The page as stem.md and stem.json, in the order of its parts, whatever was
    measured last.

    how: a docstring, whose last paragraph says what is measured.
    """
    from tadrop.storage.files import write_text

    sections = {name: page.sections[name] for name in parts if name in page.sections}
    about, paragraph = machine(), how.split("\n\n")[-1]
    facts = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in about.items()
    )
    head = f"# {title}\n\nMade by `{command}` on: {facts}.\n\n{paragraph}\n"
    write_text(
        stem.with_suffix(".md"),
        "\n".join([head, *map(render_section, sections.values())]),
    )
    content = {"machine": about, "command": command, "sections": sections}
    write_text(stem.with_suffix(".json"), json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, help="where to put the synthetic checkpoints"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument(
        "--repeat", type=int, default=3, help="runs of each method; the median counts"
    )
    parser.add_argument(
        "--vs",
        action="append",
        default=[],
        metavar="COMMAND",
        help="another tool, on the same files",
    )
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "benchmarks")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return
    if arguments.folder is None:
        parser.error("--folder is needed: a place with 15 GB to spare")
    stem = arguments.results / "merge"
    page = earlier(stem)
    work = {
        "towers": lambda folder: towers(page, folder, arguments.repeat, arguments.vs),
        "methods": lambda folder: every_method(page, folder),
        "spectral": lambda folder: spectral(page, folder),
        "tasks": lambda folder: more_tasks(page, folder),
        "large": lambda folder: large_model(page, folder),
        "single": lambda folder: single_tensor(page, folder),
        "tadrop": lambda folder: tadrop_alone(page),
        "startup": lambda folder: startup(page),
        "sweep": lambda folder: sweep(page, folder),
    }
    for section in arguments.only:
        with tempfile.TemporaryDirectory(
            dir=arguments.folder, prefix="towers."
        ) as folder:
            work[section](Path(folder))
    command = "python -m experiments.benchmark_merge --folder DIR"
    write(page, PARTS, stem, "Merging on disk: time and memory", __doc__ or "", command)


if __name__ == "__main__":
    main()
