"""The grid of a sweep on validation data, and the settings that it chooses.

The rule: the settings with the highest validation accuracy, averaged over the sweep's
methods. Test images are not looked at.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tadrop.errors import TadropError
from tadrop.results.figures.style import write_figures
from tadrop.results.figures.sweeps import heat_map
from tadrop.results.record import Record
from tadrop.storage.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

KNOBS = ("density", "reading", "norm", "q_lo", "q_hi", "map", "gamma")
UNSET = "null"  # a setting that is not set, as a command spells it
TITLE = "**TADrop's settings: average accuracy on validation data, in percent**\n"


def is_grid(records: Sequence[Record]) -> bool:
    """Whether a board's records choose settings: whether any is of validation data."""
    return any(one["protocol"]["split"] == "validation" for one in records)


def grid(records: Sequence[Record]) -> "DataFrame":
    """One row per setting that the sweep varies.

    Columns: each method's average accuracy in percent, their mean, and the density as
    `kept`. Raises TadropError for a record of another split than validation.
    """
    from pandas import DataFrame

    points: list[dict[str, Any]] = []
    for record in records:
        if record["config"]["tadrop"] is not None:
            points.append(_point(record))
    frame = DataFrame(points)
    varied: list[str] = []
    for knob in KNOBS:
        if len(frame[knob].unique()) > 1:
            varied.append(knob)
    table = frame.pivot_table("value", varied, "method", sort=False)
    table["mean"] = table.mean(axis=1)
    table["kept"] = frame.groupby(varied)["kept"].min()
    return table


def _point(record: Record) -> dict[str, Any]:
    """The settings of one run, and what came of it."""
    split = record["protocol"]["split"]
    if split != "validation":
        raise TadropError(
            f"record {record['key']} is of the {split} split; choose on validation"
        )
    tadrop: Mapping[str, Any] = record["config"]["tadrop"]
    point: dict[str, Any] = {}
    for knob in KNOBS:
        value = tadrop.get(knob)
        point[knob] = UNSET if value is None else value
    values = list(map(itemgetter("value"), record["scores"]))
    point["method"] = record["config"]["merge"]["title"]
    point["value"] = 100 * sum(values) / len(values)
    point["kept"] = record["density"]
    return point


def markdown(table: "DataFrame") -> str:
    """The grid, best mean in bold."""
    knobs = list(map(str, table.index.names))
    best = table["mean"].idxmax()
    headings = [*knobs, *map(str, table.columns)]
    lines = [_line(headings), "|" + ":--|" + "--:|" * (len(headings) - 1)]
    for settings, row in table.iterrows():
        cells = list(map(str, _tuple(settings)))
        cells += map("{:.1f}".format, row.iloc[:-1])
        cells.append(f"{row['kept']:.2f}")
        if _tuple(settings) == _tuple(best):
            cells = list(map("**{}**".format, cells))
        lines.append(_line(cells))
    choice = ", ".join(map("{} = {}".format, knobs, _tuple(best)))
    note = (
        f"\nChosen, by the highest mean over the methods: {choice}. "
        "kept: fraction of entries left by the rule.\n"
    )
    return "\n".join([TITLE, *lines, note])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _tuple(index: object) -> tuple[object, ...]:
    """The settings of a row; pandas gives one alone as it is."""
    return index if isinstance(index, tuple) else (index,)


def figures(name: str, table: "DataFrame") -> "list[tuple[str, Figure]]":
    """A heat map of the mean for each norm, where the sweep is over quantile pairs."""
    maps: list[tuple[str, Figure]] = []
    if "q_lo" not in table.index.names:
        return maps
    for norm in table.index.get_level_values("norm").unique():
        means = table.loc[norm]["mean"].unstack("q_hi")
        heat = heat_map(means, f"TADrop, norm {norm}", "validation accuracy, %")
        maps.append((f"{name}_{norm}", heat))
    return maps


def write(name: str, table: "DataFrame", target: Path, draw: bool = True) -> list[Path]:
    """The grid as Markdown and CSV, and its heat maps; returns the paths."""
    page, data = target / f"{name}.md", target / f"{name}.csv"
    write_text(page, markdown(table))
    write_text(data, table.to_csv(float_format="%.4f"))
    maps = figures(name, table) if draw else []
    return [page, data, *write_figures(target, maps)]
