"""Every method at once: accuracy against what it stores, and against how many tasks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tadrop.results.columns import size
from tadrop.results.figures.labels import label_points
from tadrop.results.figures.methods import methods_of
from tadrop.results.figures.style import (
    STYLES,
    WIDTH,
    bare,
    legend,
    new_figure,
    reference_level,
)
from tadrop.results.formats import label
from tadrop.results.row import Row
from tadrop.results.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
    "#a6a600",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SEEN = {  # what a row saw of the data, the first of these that it did, and its marker
    "test inputs": "X",
    "training inputs": "^",
    "validation labels": "s",
    "": "o",
}
GREY = "#777777"


def accuracy_against_storage(table: Table) -> "Figure":
    """Average accuracy against bytes stored a task beside the base.

    The shape of a point says what data a method saw.
    """
    figure = new_figure(WIDTH, 4.4)
    axes = figure.subplots()
    methods = dict(methods_of(table))
    for variant in ("", "TADrop"):
        rows = [rows[variant] for rows in methods.values() if variant in rows]
        _storage_points(axes, rows, variant, len(table.tasks))
    for word, marker in SEEN.items():
        seen = f"saw {word or 'none of these'}"
        axes.scatter([], [], color="#999999", marker=marker, label=seen)
    for row in table.rows:
        if row.is_reference:
            reference_level(axes, row.measured, label(row))
    _storage_axis(axes)
    axes.set_ylabel("average accuracy, %")
    axes.set_title(table.title, fontsize=9)
    bare(axes)
    legend(figure, [axes])
    plain = {name: rows[""] for name, rows in methods.items() if "" in rows}
    points: list[tuple[str, float, float]] = []
    for name, row in _best(plain):
        points.append((name, _stored(row) / len(table.tasks), row.measured))
    label_points(axes, points)
    return figure


def _storage_points(
    axes: "Axes", rows: Sequence[Row], variant: str, tasks: int
) -> None:
    """One variant's points, those of rows that saw the same data together."""
    style = STYLES[variant]
    for word, marker in SEEN.items():
        alike = [row for row in rows if _seen(row) == word]
        if alike:
            axes.scatter(
                [_stored(row) / tasks for row in alike],
                [row.measured for row in alike],
                s=26,
                marker=marker,
                color=style.colour,
                alpha=0.8,
                linewidths=0,
            )
    axes.scatter([], [], color=style.colour, label=style.label)


def _storage_axis(axes: "Axes") -> None:
    """Bytes on a logarithmic scale, each decade labelled, and its 2 and 5."""

    def decade(value: float, position: float) -> str:
        return size(value)

    def between(value: float, position: float) -> str:
        return size(value) if f"{value:e}"[0] in "25" else ""

    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(decade)
    axes.xaxis.set_minor_formatter(between)
    # Ticks of one length, so that labels of both kinds stand on one line.
    axes.tick_params(axis="x", which="both", length=3.5)
    axes.set_xlabel("stored beside the base, per task")


def _stored(row: Row) -> int:
    """The bytes of a row that has records, so that they are never None."""
    assert row.stored_bytes is not None, f"{row.title} says nothing of its storage"
    return row.stored_bytes


def _seen(row: Row) -> str:
    """What decides a row's marker: the word of SEEN for the data that it saw."""
    return next(word for word in SEEN if word in (*row.data, ""))


def _best(plain: Mapping[str, Row]) -> list[tuple[str, Row]]:
    """The best method of each kind at every amount of storage.

    Amounts within a fifth are taken together.
    """
    best: list[tuple[str, Row]] = []
    for name, row in sorted(plain.items(), key=lambda item: -item[1].measured):
        ratios: list[float] = []
        for _, other in best:
            if _seen(other) == _seen(row):
                ratios.append(_stored(row) / _stored(other))
        if not any(0.8 < ratio < 1.25 for ratio in ratios):
            best.append((name, row))
    return best


def accuracy_against_tasks(tables: Sequence[Table], most: int = 8) -> "Figure":
    """Left: average accuracy of the best methods as tasks are added.

    Right: what TADrop adds to each of them.
    """
    tables = sorted(tables, key=lambda table: len(table.tasks))
    counts = [len(table.tasks) for table in tables]
    by_table = [dict(methods_of(table)) for table in tables]
    figure = new_figure(WIDTH, 3.6)
    left, right = figure.subplots(1, 2)
    names = _everywhere(by_table)[:most]
    for name, colour, marker in zip(names, OKABE_ITO, MARKERS, strict=False):
        style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
        rows = [methods[name] for methods in by_table]
        averages = [variants[""].measured for variants in rows]
        left.plot(counts, averages, label=name, **style)
        gains = list(_gains(counts, rows))
        if gains:
            right.plot(*zip(*gains, strict=True), **style)
    for name, dash in (("individual", "--"), ("pretrained", ":")):
        _reference_line(left, tables, name, dash)
    right.axhline(0, color=GREY, linewidth=0.8)
    left.set_ylabel("average accuracy, %")
    right.set_ylabel("difference with TADrop, points")
    for axes in (left, right):
        axes.set_xticks(counts)
        axes.set_xlabel("tasks merged")
        bare(axes)
    legend(figure, [left, right], columns=4, size=7)
    return figure


def _everywhere(by_table: Sequence[Mapping[str, Mapping[str, Row]]]) -> list[str]:
    """The methods that have a plain row in every table, best first."""
    sums: dict[str, float] = {}
    for name in by_table[0]:
        plain = [methods.get(name, {}).get("") for methods in by_table]
        rows = [row for row in plain if row is not None]
        if len(rows) == len(by_table):
            sums[name] = sum(row.measured for row in rows)
    return sorted(sums, key=lambda name: -sums[name])


def _gains(
    counts: Sequence[int], rows: Sequence[Mapping[str, Row]]
) -> Iterator[tuple[int, float]]:
    """(number of tasks, what TADrop adds) wherever a method has a row with it."""
    for count, variants in zip(counts, rows, strict=True):
        row = variants.get("TADrop")
        if row is not None and row.difference is not None:
            yield count, row.difference


def _reference_line(
    axes: "Axes", tables: Sequence[Table], method: str, dash: str
) -> None:
    """The line of a model before merging, where every table has its row."""
    rows: list[Row] = []
    for table in tables:
        rows += [row for row in table.rows if row.method == method][:1]
    if len(rows) < len(tables):
        return
    axes.plot(
        [len(table.tasks) for table in tables],
        [row.measured for row in rows],
        color=GREY,
        linestyle=dash,
        linewidth=1,
        label=rows[0].title,
    )
