"""Renders a recipe's table and figures from its records.

    tadrop table demo [--records DIR] [--out DIR] [key=value ...]
    tadrop table table_vit_b32_8 --dry-run      what is owed, what it will cost, what is missing

Looks up the record of every run of conf/experiment/RECIPE.yaml, prints the table and
writes it as Markdown, CSV and LaTeX with its figures; published numbers stand beside
ours where results/published has some for the model and task set. Nothing is run: a
missing record is an error that names the command which makes it, or is left out with
--partial.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tadrop.app import boards as recipes
from tadrop.app import cost
from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import RUNS
from tadrop.app.showing import print_table
from tadrop.results import formats, published, record, table
from tadrop.results.figures import averages, methods, sweeps, tensors
from tadrop.results.figures.style import write_figures
from tadrop.results.intervals import paired
from tadrop.results.record import Record
from tadrop.results.table import Table
from tadrop.storage.files import write_text
from tadrop.types import TadropError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BARS = 6  # more methods than this are lines of a dot plot
MOST_LINES = 40  # settings in one figure; a table of more than these is better read
MOST_DUMBBELLS = 4  # methods drawn task by task


def collect(
    recipe: str, folder: Path, extra: Sequence[str] = (), partial: bool = False
) -> list[Record]:
    """The recipe's records, with those of its references first, each once.

    A recipe that sweeps TADrop alone still is compared: rows without it are taken in
    where they are recorded.
    """
    found: dict[str, Record] = {}
    missing = None
    for config, _, needed in recipes.with_plain(recipe, extra):
        file = record.path(folder, config)
        if file.stem in found:
            continue
        if file.exists():
            found[file.stem] = record.read(file)
        elif needed:
            missing = missing or file
            if not partial:
                break
    if missing and not (partial and found):
        command = " ".join(["python run.py", f"+experiment={recipe}", *extra])
        raise TadropError(
            f"{missing} is not there; make it with: {command} (--dry-run lists what is owed)"
        )
    return list(found.values())


def made(recipe: str, records: Sequence[Record], folder: Path, facts: Path) -> Table:
    """The recipe's table: our rows with intervals, published ones beside them."""
    ours = table.build(records, compare=paired(folder))
    if not facts.is_dir():
        return ours
    chosen = recipes.choices(recipe)
    source = records[0]["config"]["model"].get("source")
    about = published.about(
        published.read(facts), chosen.get("model", ""), chosen.get("tasks", ""), source
    )
    return published.beside(ours, about)


def figures_of(
    rendered: Table, records: Sequence[Record], folder: Path
) -> list[tuple[str, "Figure"]]:
    """(name, figure) of everything worth drawing from one table and its records."""
    found = [("accuracy", accuracy(rendered))]
    found.append(("lambda", sweeps.lambda_curves(records, rendered.title)))
    for name, grid in sweeps.quantile_grid(records).items():
        heat = sweeps.heat_map(
            grid, f"{name} + TADrop, {rendered.title}", "average accuracy, %"
        )
        found.append((f"quantiles_{record_word(name)}", heat))
    comparable = [
        name
        for name, rows in methods.methods_of(rendered).items()
        if {"", "TADrop"} <= rows.keys()
    ]
    for name in comparable[:MOST_DUMBBELLS]:
        found.append(
            (f"tasks_{record_word(name)}", averages.task_gains(rendered, name))
        )
    return [
        (name, figure) for name, figure in found if figure is not None
    ] + tensor_figures(records, folder)


def accuracy(rendered: Table) -> "Figure | None":
    """Averages: bars of a few methods, lines of many or of the settings that a table
    compares; None of too many.
    """
    if settings := methods.settings_of(rendered):
        return (
            averages.gains(rendered, settings) if len(settings) <= MOST_LINES else None
        )
    few = len(methods.methods_of(rendered)) <= BARS
    return averages.accuracy_bars(rendered) if few else averages.gains(rendered)


def record_word(title: str) -> str:
    """A method's title as part of a file's name."""
    return "".join(c if c.isalnum() else "_" for c in title.lower()).strip("_")


def tensor_figures(
    records: Sequence[Record], folder: Path
) -> list[tuple[str, "Figure"]]:
    """The sparsity map and the profile by depth of the first adaptive TADrop record, if
    there is one.
    """
    for one in records:
        tadrop = one["config"]["tadrop"]
        if (
            tadrop
            and tadrop["assign"] == "adaptive"
            and (folder / f"{one['key']}.tensors.csv.gz").exists()
        ):
            title = f"TADrop {tadrop['q_lo']:g}/{tadrop['q_hi']:g}, mean over tasks"
            statistics = record.read_tensors(folder, one["key"])
            profile = tensors.tensor_profile(statistics, title)
            return [
                ("sparsity", tensors.sparsity_map(statistics, title)),
                ("profile", profile),
            ]
    return []


def write_texts(stem: Path, rendered: Table) -> list[Path]:
    """A table as Markdown, CSV and LaTeX: stem.md and so on; returns the paths."""
    written = {
        stem.with_suffix(".md"): formats.markdown,
        stem.with_suffix(".csv"): formats.csv,
    }
    written[stem.with_suffix(".tex")] = formats.latex
    for path, form in written.items():
        write_text(path, form(rendered))
    return list(written)


def put_in_page(page: Path, recipe: str, rendered: Table) -> None:
    """Replaces what stands between the page's markers for this recipe by the table."""
    text, begin = page.read_text(encoding="utf-8"), f"<!-- table: {recipe} -->"
    if begin not in text:
        raise TadropError(
            f"{page}: no line {begin}, followed by <!-- end -->, says where the table goes"
        )
    before, _, rest = text.partition(begin)
    _, end, after = rest.partition("<!-- end -->")
    write_text(page, f"{before}{begin}\n{formats.markdown(rendered)}{end}{after}")


def by_task_set(recipe: str, records: Sequence[Record]) -> dict[str, list[Record]]:
    """One group of records for each task set, by recipe name; with the number of tasks
    where there are several.
    """
    groups: dict[int, list[Record]] = {}
    for one in records:
        groups.setdefault(len(one["config"]["tasks"]["names"]), []).append(one)
    return {
        recipe if len(groups) == 1 else f"{recipe}_{count}": group
        for count, group in groups.items()
    }


def contents(
    recipe: str, records: Sequence[Record], folder: Path, facts: Path, draw: bool = True
) -> tuple[dict[str, Table], list[tuple[str, str, "Figure"]]]:
    """A recipe's tables by name, one a task set, and its figures as (name of the table
    or recipe, what, figure).
    """
    groups = by_task_set(recipe, records)
    shown = {name: made(recipe, group, folder, facts) for name, group in groups.items()}
    if not draw:
        return shown, []
    drawn = [
        (name, *pair)
        for name, group in groups.items()
        for pair in figures_of(shown[name], group, folder)
    ]
    if (counts := sweeps.task_counts(list(shown.values()))) is not None:
        drawn.append((recipe, "counts", counts))
    return shown, drawn


def render(
    recipe: str,
    records: Sequence[Record],
    folder: Path,
    facts: Path,
    target: Path,
    draw: bool = True,
) -> tuple[list[Path], dict[str, Table]]:
    """Writes a recipe's tables and figures; returns the paths and the tables by name."""
    rendered, drawn = contents(recipe, records, folder, facts, draw)
    paths = [
        path
        for name, one in rendered.items()
        for path in write_texts(target / name, one)
    ]
    return paths + write_figures(
        target, [(f"{of}_{what}", figure) for of, what, figure in drawn]
    ), rendered


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", help=f"one of {', '.join(recipes.names())}")
    parser.add_argument(
        "overrides", nargs="*", help="as given to run.py, for example select=grid"
    )
    parser.add_argument("--records", type=Path, default=RUNS / "records")
    parser.add_argument("--published", type=Path, default=published.FOLDER)
    parser.add_argument("--out", type=Path, default=RUNS)
    parser.add_argument(
        "--page", type=Path, help="a Markdown page whose marked table is to be renewed"
    )
    parser.add_argument(
        "--partial", action="store_true", help="make do with the records that are there"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="list the runs owed, their cost and what is missing",
    )
    options = parser.parse_args()
    with told_in_one_line():
        if options.dry_run:
            cost.tell(options.recipe, options.records, options.overrides)
            return
        records = collect(
            options.recipe, options.records, options.overrides, options.partial
        )
        paths, rendered = render(
            options.recipe, records, options.records, options.published, options.out
        )
        for name, one in rendered.items():
            if options.page:
                put_in_page(options.page, name, one)
            print_table(one)
    out.print(f"\nrecords: {len(records)} in {options.records}")
    out.print("written: " + ", ".join(str(path) for path in paths), soft_wrap=True)


if __name__ == "__main__":
    main()
