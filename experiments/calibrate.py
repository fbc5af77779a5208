"""One trial of how the embedded checkpoints are fine-tuned, judged on validation images.

    python -m experiments.calibrate NAME --base FILE [temperature=4 rehearsed=32 ...]

It fine-tunes the eight tasks with the recipe, its settings replaced as given, in
runs/calibration/NAME, merges them by the rows that the suite may be tuned by, and
writes how far each goes from the base to the single models into experiments/glyphs/trials.csv,
beside what is published for ViT-B/32. All other rows are left for judging the suite.
A trial that was stopped goes on; one that is there is only judged anew.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

import pandas as pd
import yaml

from experiments.glyphs.recipe import TaskRecipe
from experiments.train_glyphs import fine_tune, write_manifest
from tadrop.app.terminal.entry import enter
from tadrop.results.validity.page import TUNED
from tadrop.storage.files import write_text

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "experiments" / "glyphs" / "trials.csv"
TRIALS = ROOT / "runs" / "calibration"
LIMIT = 200  # validation images of each task
EDGES = ("pretrained", "individual")


def tasks() -> list[str]:
    """The eight tasks that settings are chosen on."""
    text = (ROOT / "conf" / "tasks" / "glyph8.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["names"]


def changed(recipe: TaskRecipe, words: Sequence[str]) -> TaskRecipe:
    """The recipe with `key=value` settings replaced; values are YAML.

    Raises TypeError for a key that it has not.
    """
    values: dict[str, object] = {}
    for word in words:
        key, _, value = word.partition("=")
        read = yaml.safe_load(value)
        values[key] = tuple(read) if isinstance(read, list) else read
    return replace(recipe, **values)


def make(folder: Path, base: Path, recipe: TaskRecipe, workers: int) -> None:
    """Trains what is not there yet of the eight tasks, with the base beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        fine_tune(pool, folder, base, tasks(), recipe, 0)
    beside = folder / "base.safetensors"
    if not beside.exists():
        beside.write_bytes(base.read_bytes())
    write_manifest(folder)


def averages(folder: Path) -> dict[str, float]:
    """The average accuracy of each row of a trial, in percent, by its name."""
    records = folder / "runs"
    sweep = [
        *("tasks=glyph8", "split=validation", f"limit={LIMIT}", "tadrop=off"),
        f"merge={','.join((*EDGES, *TUNED))}",
        f"model.base={folder / 'base.safetensors'}",
        f"model.experts='{folder / '{task}.safetensors'}'",
        f"paths.results={records}",
    ]
    command = [sys.executable, str(ROOT / "run.py"), "-m", *sweep]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, env=environment)
    found: dict[str, float] = {}
    for path in (records / "records").glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        values = [score["value"] for score in record["scores"]]
        found[record["config"]["merge"]["name"]] = 100 * mean(values)
    return found


def line(name: str, recipe: TaskRecipe, found: dict[str, float]) -> dict[str, object]:
    """A trial as a row of the table: settings, levels, and shares of the way in percent."""
    low, high = (found[edge] for edge in EDGES)
    values: dict[str, object] = {"trial": name}
    values |= {key: str(value) for key, value in asdict(recipe).items()}
    values |= {"pretrained": round(low, 1), "individual": round(high, 1)}
    for row in TUNED:
        values[row] = round(100 * (found[row] - low) / (high - low))
    return values


def note(values: dict[str, object]) -> None:
    """Puts a trial's row into the table, in place of an earlier one of its name."""
    table = pd.DataFrame([values])
    if TABLE.exists():
        earlier = pd.read_csv(TABLE, dtype=str)
        table = pd.concat([earlier[earlier["trial"] != values["trial"]], table])
    write_text(TABLE, table.to_csv(index=False, lineterminator="\n"))


def main() -> None:
    """Trains, judges and notes one trial."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the trial, and of its folder")
    parser.add_argument("settings", nargs="*", help="key=value of the recipe")
    parser.add_argument("--base", type=Path, required=True, help="the base's file")
    parser.add_argument("--workers", type=int, default=2, help="trained side by side")
    options = parser.parse_args()
    recipe = changed(TaskRecipe(), options.settings)
    folder = TRIALS / options.name
    make(folder, options.base, recipe, options.workers)
    values = line(options.name, recipe, averages(folder))
    note(values)
    print(pd.Series(values).to_string())


if __name__ == "__main__":
    enter()
    main()
