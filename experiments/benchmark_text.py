"""How fast GPT-2 is evaluated against its bare forward passes, and what its largest
tensor costs every sparsifier.

    python -m experiments.benchmark_text --folder DIR                   both sections; writes results/benchmarks/text.*
    python -m experiments.benchmark_text --folder DIR --only table      one section; the page keeps the other

Everything is made in a folder under --folder (1.2 GB, removed at the end): a GPT-2 of
the small size with random weights, and sentences of random words, as long as GLUE's.
`evaluate` is the suite's own loop (tokens read from the cache, padding, forward,
grading) over one split; the floor is the same module over the same padded batches, made
beforehand. The two take turns; the share is the median of the ratios of neighbours, as
a machine's pace drifts. `table` plans every cut of wte (50,257 x 768) for two tasks and
reads the tensor through them; memory is the peak resident set above what lay there
before (base and experts).
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments.benchmark_merge import ROOT, Page, earlier, seconds_of, verdict, write
from tadrop.app.meter import Meter
from tadrop.app.places import CONF
from tadrop.app.runs.opening import open_bench
from tadrop.evaluation import bench as evaluation
from tadrop.evaluation.bench import Bench, install
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.numerics.seeds import generator
from tadrop.sparsify.cut_stream import Sparse, all_cuts
from tadrop.storage.checkpoint import Checkpoint
from tadrop.storage.files import write_tensors, write_text
from tadrop.vectors.passes import density
from tadrop.vectors.task_vectors import TaskVectors

SECTIONS = ("evaluate", "table")
FLOOR = 0.9  # of the bare forward passes' examples a second
WTE = (50_257, 768)
STATUS = Path("/proc/self/status")


def configured(folder: Path, *overrides: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        places = [
            f"paths.hub={folder}",
            f"paths.cache={folder}/cache",
            "tasks.names=[sst2]",
            "tasks.strict=false",
        ]
        return compose("config", ["model=gpt2", *places, *overrides])


def write_model(folder: Path) -> None:
    """GPT-2 small, its base and one classifier, with random weights; a byte-level BPE
    trained on nothing much.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config()
    torch.manual_seed(0)
    state = {
        name: tensor.contiguous()
        for name, tensor in GPT2Model(config).state_dict().items()
    }
    base = folder / "models" / "openai-community" / "gpt2"
    write_tensors(base / "model.safetensors", state)
    write_text(base / "config.json", json.dumps(config.to_diff_dict()))
    head = {"score.weight": torch.randn(2, config.n_embd)}
    named = {f"transformer.{name}": tensor for name, tensor in state.items()}
    write_tensors(
        folder / "models" / "tanganke" / "gpt2_sst2" / "model.safetensors", named | head
    )
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        sentences(2_000), vocab_size=4_000, show_progress=False
    )
    tokenizer.save_model(str(base))
    write_text(
        base / "tokenizer_config.json", json.dumps({"tokenizer_class": "GPT2Tokenizer"})
    )


def sentences(count: int) -> list[str]:
    """Sentences of random words; lengths are log-normal, 19 words in the middle, at
    most 120.
    """
    rng = generator("benchmark_text")
    letters = list("etaoinshrdlu")
    words = ["".join(rng.choice(letters, rng.integers(1, 9))) for _ in range(3_000)]
    lengths = rng.lognormal(2.9, 0.5, count).astype(int).clip(1, 120)
    return [" ".join(rng.choice(words, length)) + "." for length in lengths]


def write_sentences(folder: Path, count: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = folder / "datasets" / "nyu-mll" / "glue" / "sst2"
    target.mkdir(parents=True)
    table = pa.table(
        {"sentence": sentences(count), "label": [i % 2 for i in range(count)]}
    )
    pq.write_table(table, target / "validation-00000-of-00001.parquet")


@torch.inference_mode()
def forward(bench: Bench, batches: list[torch.Tensor]) -> None:
    """The floor: nothing but forward passes."""
    for inputs in batches:
        logits = bench.module(inputs.to(bench.device))
    logits.sum().item()  # waits for the device


def evaluation_rate(page: Page, folder: Path, rows: int, repeat: int) -> None:
    """Examples a second of the suite's loop and of bare forward passes."""
    write_model(folder)
    write_sentences(folder, rows)
    bench, stream = open_bench(
        OmegaConf.to_container(configured(folder), resolve=True)
    )
    install(bench.backbone.places(bench.module), bench.expert("sst2", stream.names))
    bench.equip("sst2")
    untouched = merge(stream, Method(merge=lambda taus: torch.zeros_like(taus[:1])))
    made = [inputs for inputs, _ in bench.tasks.batches("sst2", "test")]
    tokens = sum(int((inputs >= 0).sum()) for inputs in made)
    work = {
        "forward": lambda: forward(bench, made),
        "evaluate": lambda: evaluation.score(bench, untouched, "sst2", "test"),
    }
    for each in work.values():
        each()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeat):
        for name, each in work.items():
            times[name].append(seconds_of(each))
    ours, floor = (rows / median(times[name]) for name in ("evaluate", "forward"))
    share = median(
        bare / whole
        for bare, whole in zip(times["forward"], times["evaluate"], strict=True)
    )
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
    padded = sum(inputs.numel() for inputs in made)
    row = [
        rows,
        tokens,
        padded,
        f"{ours:.2f}",
        f"{floor:.2f}",
        f"{share:.3f}",
        FLOOR,
        verdict(share >= FLOOR),
    ]
    page.add("evaluate", f"GPT-2 small evaluated on {bench.device}", head, [row])


def resident(key: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    return next(
        int(line.split()[1]) * 1024
        for line in STATUS.read_text().splitlines()
        if line.startswith(key)
    )


def rules() -> dict[str, object]:
    """Every sparsifier there is, by its name in the configuration."""
    names = sorted(
        path.stem for path in (CONF / "sparsify").glob("*.yaml") if path.stem != "none"
    )
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = {
            f"sparsify={name}": compose("config", [f"sparsify={name}"]).sparsify
            for name in names
        }
        return found | {
            f"tadrop {word}": compose("config", [f"tadrop.norm={word}"]).tadrop
            for word in ("l1", "none")
        }


def wte(tasks: int = 2) -> TaskVectors:
    """Task vectors of a single tensor of wte's size, in memory."""
    maker = torch.Generator().manual_seed(0)
    base = torch.randn(WTE, generator=maker) * 0.02
    experts = {
        f"task{t}": base + torch.randn(WTE, generator=maker) * 1e-3
        for t in range(tasks)
    }
    name = "transformer.wte.weight"
    held = {
        task: Checkpoint(Path(task), (), {name: tensor})
        for task, tensor in experts.items()
    }
    return TaskVectors(Checkpoint(Path("base"), (), {name: base}), held)


def table_cost(page: Page) -> None:
    """Time and memory of every sparsifier on wte."""
    stream, entries = wte(), WTE[0] * WTE[1]
    density(
        Sparse(stream, instantiate(rules()["sparsify=magnitude"]))
    )  # compiles the kernels
    rows = []
    for name, node in rules().items():
        sparse = Sparse(stream, instantiate(node))
        Meter()  # resets the high-water mark
        before = resident("VmRSS")
        plan, kept = seconds_of(lambda s=sparse: all_cuts(s)), 0.0
        start = time.perf_counter()
        kept = density(sparse)
        read = time.perf_counter() - start
        peak = (resident("VmHWM") - before) / 1e6
        rows.append([name, f"{plan:.2f}", f"{read:.2f}", f"{peak:.0f}", f"{kept:.4f}"])
    head = ("sparsifier", "plan, s", "read through it, s", "peak memory, MB", "kept")
    title = f"wte, {entries / 1e6:.1f} M entries, two tasks ({entries * 4 / 1e6:.0f} MB each)"
    page.add("table", title, head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="a place with 1.2 GB to spare"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--rows", type=int, default=32, help="sentences")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "benchmarks")
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
        page,
        SECTIONS,
        stem,
        "GPT-2: evaluation and its largest tensor",
        __doc__ or "",
        command,
    )


if __name__ == "__main__":
    main()
