"""Every method at once: accuracy against what it stores, and against how many tasks."""

from collections.abc import Iterator, Mapping, Sequence
from math import log10
from operator import sub
from typing import TYPE_CHECKING

from tadrop.results.columns import size
from tadrop.results.figures.labels import label_points
from tadrop.results.figures.methods import Methods, methods_of
from tadrop.results.figures.style import (
    STYLES,
    WIDTH,
    bare,
    legend,
    new_figure,
    reference_level,
)
from tadrop.results.formats import label
from tadrop.results.row import Row, averages_of
from tadrop.results.table import Table, task_count

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
DRAWN = ("", "TADrop")  # the variants of a leaderboard
# A point's size as a share of the range of all of them, and the least that it is.
SIDE, RISE = 0.018, 0.022
LEAST_SIDE, LEAST_RISE = 0.004, 0.1
ALIKE = 0.6  # points: lines that are never further apart are drawn as one

Point = tuple[float, float]


def accuracy_against_storage(table: Table) -> "Figure":
    """Average accuracy against bytes stored a task beside the base.

    The shape of a point says what data a method saw.
    """
    figure = new_figure(WIDTH, 4.4)
    axes = figure.subplots()
    methods = methods_of(table)
    points = _storage_points(methods, task_count(table))
    places = dict(zip(points, _spread(list(points.values())), strict=True))
    for (name, variant), (x, y) in places.items():
        axes.scatter(
            x,
            y,
            s=26,
            marker=SEEN[_seen(methods[name][variant])],
            color=STYLES[variant].colour,
            alpha=0.8,
            linewidths=0,
        )
    for variant in DRAWN:
        style = STYLES[variant]
        axes.scatter([], [], color=style.colour, label=style.label)
    for word, marker in SEEN.items():
        seen = f"saw {word or 'none of these'}"
        axes.scatter([], [], color="#999999", marker=marker, label=seen)
    for row in table.rows:
        if row.is_reference:
            reference_level(axes, row.measured, label(row))
    axes.margins(x=0.12)
    bytes_axis(axes)
    axes.set_xlabel(
        "stored beside the base, per task (points side by side store the same)"
    )
    axes.set_ylabel("average accuracy, %")
    axes.set_title(f"{table.title}: accuracy against what is stored", fontsize=9)
    bare(axes)
    legend(figure, [axes])
    labels: list[tuple[str, float, float]] = []
    for name, _ in _best(_variants(methods, "")):
        labels.append((name, *places[name, ""]))
    label_points(axes, labels)
    return figure


def _variants(methods: Methods, variant: str) -> dict[str, Row]:
    """The row of one variant by method, where there is one."""
    rows: dict[str, Row] = {}
    for name, variants in methods.items():
        if variant in variants:
            rows[name] = variants[variant]
    return rows


def _storage_points(methods: Methods, tasks: int) -> dict[tuple[str, str], Point]:
    """Bytes a task and average of each method's row, by method and variant."""
    points: dict[tuple[str, str], Point] = {}
    for variant in DRAWN:
        for name, row in _variants(methods, variant).items():
            points[name, variant] = _stored(row) / tasks, row.measured
    return points


def _spread(points: Sequence[Point]) -> list[Point]:
    """The points, those that would hide one another moved to the side.

    Each in turn goes to the nearest free place on its level. x is on a logarithmic scale.
    """
    if not points:
        return []
    xs, ys = zip(*points, strict=True)
    logs = list(map(log10, xs))
    wide = max(SIDE * (max(logs) - min(logs)), LEAST_SIDE)
    high = max(RISE * (max(ys) - min(ys)), LEAST_RISE)
    taken: list[Point] = []
    for x, y in zip(logs, ys, strict=True):
        near: list[float] = []
        for place, level in taken:
            if abs(y - level) < high:
                near.append(place)
        taken.append((_free(x, wide, near), y))
    spread: list[Point] = []
    for place, y in taken:
        spread.append((10**place, y))
    return spread


def _free(x: float, wide: float, taken: Sequence[float]) -> float:
    """The place nearest to x that is a point's width from all that are taken."""
    for step in range(2 * len(taken) + 2):
        # Right and left in turn: 0, 1, -1, 2, -2, ...
        away = (step + 1) // 2 * (1 if step % 2 else -1)
        place = x + away * wide
        gap = wide
        for other in taken:
            gap = min(gap, abs(place - other))
        if gap > 0.99 * wide:
            return place
    return x


def bytes_axis(axes: "Axes") -> None:
    """Bytes on a logarithmic scale, each decade labelled, and its 2 and 5."""

    def decade(value: float, position: int | float) -> str:
        return size(value)

    def between(value: float, position: int | float) -> str:
        return size(value) if f"{value:e}"[0] in "25" else ""

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(decade)
    axes.xaxis.set_minor_formatter(between)
    # Ticks of one length, so that labels of both kinds stand on one line.
    axes.tick_params(axis="x", which="both", length=3.5)


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
        if not any(_rivals(row, other) for _, other in best):
            best.append((name, row))
    return best


def _rivals(row: Row, other: Row) -> bool:
    """Whether two rows saw the same data and store about as much."""
    if _seen(row) != _seen(other):
        return False
    return 0.8 < _stored(row) / _stored(other) < 1.25


def accuracy_against_tasks(tables: Sequence[Table], most: int = 8) -> "Figure":
    """Left: average accuracy of the best methods as tasks are added.

    Right: what TADrop adds to each of them.
    """
    tables = sorted(tables, key=task_count)
    counts = list(map(task_count, tables))
    by_table = list(map(methods_of, tables))
    plain = _everywhere(by_table)
    names = sorted(plain, key=lambda name: -sum(averages_of(plain[name])))
    figure = new_figure(WIDTH, 3.6)
    left, right = figure.subplots(1, 2)
    drawn = _together({name: averages_of(plain[name]) for name in names[:most]})
    for (name, label_), colour, marker in zip(
        drawn.items(), OKABE_ITO, MARKERS, strict=False
    ):
        style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
        left.plot(counts, averages_of(plain[name]), label=label_, **style)
        gains = list(_gains(counts, by_table, name))
        if gains:
            right.plot(*zip(*gains, strict=True), **style)
    for method, dash in (("individual", "--"), ("pretrained", ":")):
        _reference_line(left, tables, method, dash)
    right.axhline(0, color=GREY, linewidth=0.8)
    left.set_ylabel("average accuracy, %")
    right.set_ylabel("difference with TADrop, points")
    for axes in (left, right):
        axes.set_xticks(counts)
        axes.set_xlabel("tasks merged")
        bare(axes)
    left.set_title("without TADrop", fontsize=9)
    right.set_title("what TADrop adds", fontsize=9)
    legend(figure, [left, right], columns=4, size=7)
    return figure


def _together(lines: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """The lines to draw, and what each is called.

    Lines that coincide are one, with both names: `EMR, EMR (code)`.
    """
    labels: dict[str, str] = {}
    for name, values in lines.items():
        for other in labels:
            gaps = map(sub, values, lines[other])
            if max(map(abs, gaps)) < ALIKE:
                labels[other] += f", {name}"
                break
        else:
            labels[name] = name
    return labels


def _everywhere(by_table: Sequence[Methods]) -> dict[str, list[Row]]:
    """The plain rows of each method that has one in every table."""
    rows: dict[str, list[Row]] = {}
    for methods in by_table:
        for name, row in _variants(methods, "").items():
            rows.setdefault(name, []).append(row)
    for name in list(rows):
        if len(rows[name]) < len(by_table):
            del rows[name]
    return rows


def _gains(
    counts: Sequence[int], by_table: Sequence[Methods], name: str
) -> Iterator[tuple[int, float]]:
    """(number of tasks, what TADrop adds) wherever a method has a row with it."""
    for count, methods in zip(counts, by_table, strict=True):
        row = methods[name].get("TADrop")
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
        list(map(task_count, tables)),
        averages_of(rows),
        color=GREY,
        linestyle=dash,
        linewidth=1,
        label=rows[0].title,
    )
