"""Shows the whole grid that TADrop's defaults were chosen from, and the choice.

    tadrop choose [sweep_quantiles] [--records DIR] [--out DIR]

The rule: the quantile pair and norm with the highest validation accuracy, averaged over
the sweep's methods. Test images are not looked at. Writes the grid as Markdown, CSV and
a heat map; conf/tadrop/on.yaml holds the choice.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.places import RUNS
from tadrop.app.verbs.table import collect
from tadrop.results.figures.style import write_figures
from tadrop.results.figures.sweeps import heat_map
from tadrop.results.record import Record
from tadrop.storage.files import write_text
from tadrop.types import TadropError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

KNOBS = ("norm", "q_lo", "q_hi", "map", "gamma")


def grid(records: Sequence[Record]) -> "DataFrame":
    """One row per setting that the sweep varies: each method's average accuracy in
    percent, their mean, the density.
    """
    from pandas import DataFrame

    rows = []
    for record in records:
        tadrop = record["config"]["tadrop"]
        if tadrop is None:
            continue
        if record["protocol"]["split"] != "validation":
            raise TadropError(
                f"record {record['key']} is of the {record['protocol']['split']} split; choose on validation"
            )
        value = (
            100
            * sum(score["value"] for score in record["scores"])
            / len(record["scores"])
        )
        knobs = {knob: tadrop[knob] for knob in KNOBS}
        rows.append(
            knobs
            | {
                "method": record["config"]["merge"]["title"],
                "value": value,
                "kept": record["density"],
            }
        )
    frame = DataFrame(rows)
    varied = [knob for knob in KNOBS if frame[knob].nunique() > 1]
    table = frame.pivot_table("value", varied, "method", sort=False)
    table["mean"] = table.mean(axis=1)
    table["kept"] = frame.groupby(varied)["kept"].min()
    return table


def markdown(table: "DataFrame") -> str:
    """The grid, best mean in bold."""
    knobs_of = list(table.index.names)
    best = table["mean"].idxmax()
    head = [*knobs_of, *table.columns]
    lines = ["| " + " | ".join(head) + " |", "|" + ":--|" + "--:|" * (len(head) - 1)]
    for knobs, row in table.iterrows():
        cells = (
            [str(k) for k in _tuple(knobs)]
            + [f"{v:.1f}" for v in row.iloc[:-1]]
            + [f"{row['kept']:.2f}"]
        )
        if knobs == best:
            cells = [f"**{cell}**" for cell in cells]
        lines.append("| " + " | ".join(cells) + " |")
    words = ", ".join(
        f"{knob} = {value}" for knob, value in zip(knobs_of, _tuple(best), strict=True)
    )
    return "\n".join(
        [
            "**TADrop's settings: average accuracy on validation data, in percent**\n",
            *lines,
            f"\nChosen, by the highest mean over the methods: {words}. kept: fraction of entries left by the rule.\n",
        ]
    )


def _tuple(index: object) -> tuple[object, ...]:
    return index if isinstance(index, tuple) else (index,)


def figures(recipe: str, table: "DataFrame") -> list[tuple[str, "Figure"]]:
    """A heat map of the mean for each norm, where the sweep is over quantile pairs."""
    made = []
    if "q_lo" not in table.index.names:
        return made
    for norm in table.index.get_level_values("norm").unique():
        part = table.loc[norm]["mean"].unstack("q_hi")
        made.append(
            (
                f"{recipe}_{norm}",
                heat_map(part, f"TADrop, norm {norm}", "validation accuracy, %"),
            )
        )
    return made


def write(
    recipe: str, table: "DataFrame", target: Path, draw: bool = True
) -> list[Path]:
    """The grid as Markdown and CSV, and its heat maps; returns the paths."""
    page, data = target / f"{recipe}.md", target / f"{recipe}.csv"
    write_text(page, markdown(table))
    write_text(data, table.to_csv(float_format="%.4f"))
    return [
        page,
        data,
        *write_figures(target, figures(recipe, table) if draw else []),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default="sweep_quantiles")
    parser.add_argument("--records", type=Path, default=RUNS / "records")
    parser.add_argument("--out", type=Path, default=RUNS)
    options = parser.parse_args()
    with told_in_one_line():
        table = grid(collect(options.recipe, options.records))
    paths = write(options.recipe, table, options.out)
    out.print(markdown(table), markup=False, soft_wrap=True)
    out.print("written: " + ", ".join(str(path) for path in paths), soft_wrap=True)


if __name__ == "__main__":
    main()
