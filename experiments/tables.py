"""Renders a recipe's table and figures from its records.

    python -m experiments.tables demo [--records DIR] [--out DIR] [--split test]

Looks up the record of every run of conf/experiment/RECIPE.yaml, prints the table and writes it as Markdown, CSV and
LaTeX with its figures. Nothing is run: a missing record is an error that names the command which makes it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from experiments import recipes
from run import reference_configs
from tadrop import plot, record, table
from tadrop.console import out, print_table
from tadrop.files import write_text
from tadrop.record import Record
from tadrop.types import TadropError


def find(folder: Path, cfg: DictConfig, command: str) -> Record:
    """The record of a configuration."""
    file = record.path(folder, OmegaConf.to_container(cfg, resolve=True))
    if not file.exists():
        raise TadropError(f"{file} is not there; make it with: {command}")
    return record.read(file)


def collect(recipe: str, folder: Path) -> list[Record]:
    """The recipe's records, with those of its references first, each once."""
    command = f"python run.py +experiment={recipe}"
    found: dict[str, Record] = {}
    for cfg in recipes.configs(recipe):
        for each in (*reference_configs(cfg), cfg):
            one = find(folder, each, command)
            found[one["key"]] = one
    return list(found.values())


def sparsity_figure(records: Sequence[Record], folder: Path) -> list[tuple[str, plot.Figure]]:
    """The sparsity map of the first adaptive TADrop record, if there is one."""
    for one in records:
        tadrop = one["config"]["tadrop"]
        if tadrop and tadrop["assign"] == "adaptive" and tadrop["placement"] == "replace":
            title = f"TADrop {tadrop['q_lo']:g}/{tadrop['q_hi']:g}: sparsity by tensor, mean over tasks"
            return [("sparsity", plot.sparsity_map(record.read_tensors(folder, one["key"]), title))]
    return []


def write(recipe: str, records: Sequence[Record], folder: Path, target: Path) -> list[Path]:
    """Writes the table in three formats and the figures; returns the paths."""
    made = table.build(records)
    paths = []
    for suffix, render in ((".md", table.markdown), (".csv", table.csv), (".tex", table.latex)):
        paths.append(target / f"{recipe}{suffix}")
        write_text(paths[-1], render(made))
    figures = [("accuracy", plot.accuracy_bars(made)), *sparsity_figure(records, folder)]
    return paths + plot.write_figures(target, [(f"{recipe}_{name}", figure) for name, figure in figures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help=f"one of {', '.join(recipes.names())}")
    parser.add_argument("--records", type=Path, default=Path("results/records"))
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    try:
        records = collect(options.recipe, options.records)
        paths = write(options.recipe, records, options.records, options.out)
    except TadropError as error:
        sys.exit(f"error: {error}")
    print_table(table.build(records))
    out.print(f"\nrecords: {len(records)} in {options.records}")
    out.print("written: " + ", ".join(str(path) for path in paths), soft_wrap=True)


if __name__ == "__main__":
    main()
