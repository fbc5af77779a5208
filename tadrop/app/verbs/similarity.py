"""Cosine similarity of task vectors: how much the tasks of a suite pull the same way.

    tadrop similarity [model=... tasks=...] [--out DIR]

Writes similarity_TASKS.csv and its figure. One pass over the checkpoints, one tensor of
all tasks at a time.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import RUNS
from tadrop.app.runs.opening import open_bench
from tadrop.app.schema.composing import composed
from tadrop.app.schema.values import resolved
from tadrop.protocols.streams import Stream
from tadrop.results.figures.style import write_figures
from tadrop.results.figures.tensors import similarity
from tadrop.storage.files import write_text

if TYPE_CHECKING:
    from pandas import DataFrame


def cosines(stream: Stream) -> "DataFrame":
    """[task, task] cosines of the task vectors over all merged tensors.

    They are summed in float64, and 0 where a vector is zero.
    """
    from pandas import DataFrame

    count = len(stream.tasks)
    gram = torch.zeros(count, count, dtype=torch.float64)
    for name in stream.names:
        taus = stream.taus(name).reshape(count, -1).double()
        gram += (taus @ taus.T).cpu()
    lengths = gram.diagonal().sqrt()
    smallest = torch.finfo(torch.float64).tiny
    grid = gram / torch.outer(lengths, lengths).clamp(min=smallest)
    names = list(stream.tasks)
    return DataFrame(grid.numpy(), index=names, columns=names)


def main() -> None:
    """Writes the cosines of the task vectors that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "overrides", nargs="*", help="as given to run.py, for example tasks=glyph30"
    )
    parser.add_argument("--out", type=Path, default=RUNS)
    options = parser.parse_args()
    with told_in_one_line():
        config = resolved(composed(options.overrides))
        model = config["model"]["name"]
        _, stream = open_bench(config)
        grid = cosines(stream)
        stem = f"similarity_{model}_{len(grid)}"
        table = options.out / f"{stem}.csv"
        write_text(table, grid.to_csv(float_format="%.6f"))
        figure = similarity(grid, f"task vectors of {model}, {len(grid)} tasks")
        paths = [table, *write_figures(options.out, [(stem, figure)])]
    out.print("written: " + ", ".join(map(str, paths)), soft_wrap=True)


if __name__ == "__main__":
    main()
