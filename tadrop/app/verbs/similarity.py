"""Cosine similarity of task vectors: how much the tasks of a suite pull the same way.

    tadrop similarity [model=... tasks=...] [--out DIR]

Writes similarity_TASKS.csv and its figure. One pass over the checkpoints, one tensor of
all tasks at a time.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import CONF
from tadrop.app.runs.opening import open_bench
from tadrop.protocols import Stream
from tadrop.results.figures.style import write_figures
from tadrop.results.figures.tensors import similarity
from tadrop.storage.files import write_text

if TYPE_CHECKING:
    from pandas import DataFrame


def cosines(stream: Stream) -> "DataFrame":
    """[task, task] cosines of the task vectors over all merged tensors, summed in
    float64; 0 where a vector is zero.
    """
    from pandas import DataFrame

    gram = torch.zeros(len(stream.tasks), len(stream.tasks), dtype=torch.float64)
    for name in stream.names:
        taus = stream.taus(name).reshape(len(stream.tasks), -1).double()
        gram += (taus @ taus.T).cpu()
    lengths = gram.diagonal().sqrt()
    found = gram / torch.outer(lengths, lengths).clamp(
        min=torch.finfo(torch.float64).tiny
    )
    return DataFrame(
        found.numpy(), index=list(stream.tasks), columns=list(stream.tasks)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "overrides", nargs="*", help="as given to run.py, for example tasks=glyph30"
    )
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    with told_in_one_line():
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = OmegaConf.to_container(
                compose("config", options.overrides), resolve=True
            )
        _, stream = open_bench(config)
        found = cosines(stream)
        stem = f"similarity_{config['model']['name']}_{len(found)}"
        write_text(options.out / f"{stem}.csv", found.to_csv(float_format="%.6f"))
        title = f"task vectors of {config['model']['name']}, {len(found)} tasks"
        paths = write_figures(options.out, [(stem, similarity(found, title))])
    out.print(
        "written: " + ", ".join(map(str, [options.out / f"{stem}.csv", *paths])),
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
