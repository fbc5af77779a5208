"""Trained the embedded checkpoints: a base, and one glyph_vit for each glyph task.

    python -m experiments.train_glyphs --out DIR [--seed 1] [--tasks greek_lower arabic]

It made tadrop/assets/glyph_vit, with seed 0, and is needed again only when the glyph
tasks, the recipe or the architecture change, or for another set of models. On two cores
the base takes about half an hour and all tasks together as long. It writes
base.safetensors and one file a task to DIR, with SHA256SUMS and a card (README.md).

A file that exists is kept, so an interrupted run goes on where it stopped. Every model
is trained in a process with one thread, so its bits do not depend on how many run side
by side.
"""

import argparse
from collections.abc import Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from rich.progress import track

from experiments.glyphs.base import train_base
from experiments.glyphs.card import write_card
from experiments.glyphs.finetuning import train_task
from experiments.glyphs.recipe import BaseRecipe, TaskRecipe
from tadrop.app.terminal.entry import enter
from tadrop.storage.checkpoint import MANIFEST, sha256
from tadrop.storage.files import write_text
from tadrop.tasks.drawing.families import NAMES


def write_manifest(folder: Path) -> None:
    """Writes SHA256SUMS of the folder's checkpoints."""
    lines: list[str] = []
    for path in sorted(folder.glob("*.safetensors")):
        lines.append(f"{sha256(path)}  {path.name}")
    write_text(folder / MANIFEST, "\n".join(lines) + "\n")


def fine_tune(
    pool: Executor,
    folder: Path,
    base: Path,
    tasks: Iterable[str],
    recipe: TaskRecipe,
    seed: int,
) -> None:
    """Fine-tunes those of the tasks that the folder lacks."""
    jobs: list[Future[tuple[str, float, float]]] = []
    for task in tasks:
        path = folder / f"{task}.safetensors"
        if not path.exists():
            jobs.append(pool.submit(train_task, base, path, task, recipe, seed))
    for job in track(as_completed(jobs), description="fine-tuning", total=len(jobs)):
        task, value, seconds = job.result()
        print(f"{task}: validation {value:.3f}, {seconds:.0f} s", flush=True)


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--out", type=Path, required=True, help="the folder to write to")
    words.add_argument("--seed", type=int, default=0, help="of base and tasks")
    words.add_argument(
        "--tasks", nargs="*", default=NAMES, choices=NAMES, metavar="TASK"
    )
    words.add_argument(
        "--workers", type=int, default=2, help="models trained side by side"
    )
    return words


def main() -> None:
    """Trains what is not there yet, then writes the sums and the card."""
    options = parser().parse_args()
    base = options.out / "base.safetensors"
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        if not base.exists():
            print("base: about half an hour ...", flush=True)
            pool.submit(train_base, base, BaseRecipe(), options.seed).result()
        fine_tune(pool, options.out, base, options.tasks, TaskRecipe(), options.seed)
    write_manifest(options.out)
    write_card(options.out)


if __name__ == "__main__":
    enter()
    main()
