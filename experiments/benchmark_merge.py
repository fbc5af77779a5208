"""How long merging checkpoints on disk takes, and how much memory it needs.

    python -m experiments.benchmark_merge --folder DIR                 everything
    python -m experiments.benchmark_merge --folder DIR --only towers   one section
    python -m experiments.benchmark_merge --folder DIR --vs 'COMMAND'  another tool too

It was run for README's figures of speed, and is needed again when streams, kernels,
sparsifiers or the export change. Everything takes about half an hour on two cores, and
15 GB under --folder. It writes results/benchmarks/merge.md and merge.json; a run of one
section keeps the page's others.

Inputs are synthetic checkpoints of the shapes of CLIP's vision towers, made in a new
folder under --folder (about 7 GB at a time) that is removed at the end. In COMMAND,
{base}, {experts} (separated by spaces), {list} (by commas) and {out} stand for folders.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from experiments.benchmarks.commands import startup, sweep
from experiments.benchmarks.growth import large_model, more_tasks, single_tensor
from experiments.benchmarks.kernels import spectral, tadrop_alone
from experiments.benchmarks.page import PAGES, Page, earlier, write
from experiments.benchmarks.towers import every_method, towers
from tadrop.app.terminal.entry import enter

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
# The parts of the page, in its order; two sections write two parts each.
PARTS = ("towers", "commands", *SECTIONS[1:-1], "embedded", "sweep")
HOW = """\
Every figure is a ratio to the floor, measured on the same files just before: reading
all of them once and writing one, with a plain loop over an 8 MB buffer, files in the
page cache, nothing left to write back. A run is a process of its own; the clock runs
from opening the first input to closing the last output, and the start of the
interpreter and the imports are reported beside it. Memory is sampled every few
milliseconds: private memory is RssAnon (heap, stacks, buffers) above what it was after
the imports; pages of mapped input files count as RssFile, belong to the page cache and
are given back under pressure."""


def parser() -> argparse.ArgumentParser:
    """The words of the command line."""
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument(
        "--folder",
        type=Path,
        required=True,
        help="where to put the synthetic checkpoints, with 15 GB to spare",
    )
    words.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    words.add_argument(
        "--repeat", type=int, default=3, help="runs of each method; the median counts"
    )
    words.add_argument(
        "--vs",
        action="append",
        default=[],
        metavar="COMMAND",
        help="another tool, on the same files",
    )
    words.add_argument("--results", type=Path, default=PAGES)
    return words


def measures(
    page: Page,
    options: argparse.Namespace,
) -> dict[str, Callable[[Path], None]]:
    """What measures each section, in a folder for its files."""
    return {
        "towers": lambda folder: towers(page, folder, options.repeat, options.vs),
        "methods": lambda folder: every_method(page, folder),
        "tasks": lambda folder: more_tasks(page, folder),
        "large": lambda folder: large_model(page, folder),
        "single": lambda folder: single_tensor(page, folder),
        "spectral": lambda folder: spectral(page, folder),
        "tadrop": lambda folder: tadrop_alone(page),
        "startup": lambda folder: startup(page),
        "sweep": lambda folder: sweep(page, folder),
    }


def main() -> None:
    """Measures the sections that are asked for, then writes the page."""
    options = parser().parse_args()
    stem = options.results / "merge"
    page = earlier(stem)
    measure = measures(page, options)
    for section in options.only:
        with tempfile.TemporaryDirectory(
            dir=options.folder, prefix="towers."
        ) as folder:
            measure[section](Path(folder))
    command = "python -m experiments.benchmark_merge --folder DIR"
    write(page, PARTS, stem, "Merging on disk: time and memory", HOW, command)


if __name__ == "__main__":
    enter()
    main()
