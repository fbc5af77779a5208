"""The averages of a table: bars of a few methods, lines of many, one method by task."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tadrop.results.columns import readable
from tadrop.results.figures.methods import Methods, methods_of
from tadrop.results.figures.style import (
    PATCH,
    REFERENCE,
    STYLES,
    WIDTH,
    bare,
    legend,
    new_figure,
    reference_level,
)
from tadrop.results.formats import label
from tadrop.results.intervals import side
from tadrop.results.row import Row, averages_of
from tadrop.results.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUP = 0.84  # the width of a method's bars together
THREE = 3  # bars of a method, whose numbers are printed in full size; of more, smaller
# How far a variant's point stands from its method's line, so that equal ones are seen.
OFFSETS = {
    "TADrop": 0.18,
    "uniform": -0.18,
    "inverted": -0.34,
    "shuffled": 0.34,
    "pooled": -0.26,
}
ALL = "plain, with TADrop, with its control"


def accuracy_bars(table: Table) -> "Figure":
    """Average accuracy per method: plain, with TADrop, and with each control.

    The reference rows are level lines.
    """
    methods = methods_of(table)
    variants = _variants(methods)
    figure = new_figure(WIDTH, 3.2)
    axes = figure.subplots()
    width = GROUP / max(len(variants), 1)
    for index, variant in enumerate(variants):
        offset = (index - (len(variants) - 1) / 2) * width
        _bars(axes, methods, variant, offset, width)
    highest = 0.0
    for row in table.rows:
        if row.is_reference:
            text = f"{label(row)}\n{row.measured:.1f}"
            reference_level(axes, row.measured, text, zorder=0.0)
        if not row.source:
            highest = max(highest, row.measured)
    axes.set_xticks(range(len(methods)), list(methods), fontsize=8)
    axes.set_ylim(0, min(100, highest + 8))
    axes.set_ylabel("average accuracy, %")
    named = ", ".join(STYLES[variant].label for variant in variants)
    axes.set_title(f"{table.title}: {named}", fontsize=9)
    bare(axes)
    legend(figure, [axes])
    return figure


def _variants(methods: Methods) -> list[str]:
    """The variants that any of the methods has,
    in the order in which they are drawn.
    """
    there = set().union(*methods.values())
    return [variant for variant in STYLES if variant in there]


def _bars(
    axes: "Axes", methods: Methods, variant: str, offset: float, width: float
) -> None:
    """The bars of one variant, beside the middle of each method by an offset."""
    positions: list[float] = []
    heights: list[float] = []
    for index, rows in enumerate(methods.values()):
        if variant in rows:
            positions.append(index + offset)
            heights.append(rows[variant].measured)
    if not positions:
        return
    style = STYLES[variant]
    bars = axes.bar(positions, heights, width, label=style.label, color=style.colour)
    size = 7 if width >= GROUP / THREE else 5
    axes.bar_label(bars, fmt="%.1f", fontsize=size, padding=2, bbox=PATCH)


def gains(table: Table, lines: Methods | None = None) -> "Figure | None":
    """One line a method: its averages, and what TADrop gains over the control.

    Left: plain, with TADrop (and its interval), the control. Right: TADrop less the
    control. None where no method has a row with TADrop.
    lines: what to draw in place of the methods, the first on top
    """
    methods = _upwards(table, lines)
    if not methods:
        return None
    controlled = any(rows["TADrop"].versus is not None for rows in methods.values())
    figure = new_figure(WIDTH, 0.2 * len(methods) + 1.3)
    panels = figure.subplots(
        1,
        2 if controlled else 1,
        sharey=True,
        squeeze=False,
        width_ratios=[2.2, 1] if controlled else [2.2],
    )[0]
    _averages_panel(panels[0], table, methods)
    if controlled:
        _control_panel(panels[1], methods)
    for panel in panels:
        panel.grid(axis="y", color="#eeeeee", linewidth=0.6)
        panel.set_axisbelow(True)
        bare(panel)
    legend(figure, panels)
    figure.suptitle(f"{table.title}: {_differing(lines)}", fontsize=9)
    return figure


def _differing(lines: Methods | None) -> str:
    """What the lines of a figure differ in beside the method."""
    names: dict[str, None] = {}
    for rows in (lines or {}).values():
        for row in rows.values():
            names |= dict.fromkeys(path.split(".")[-1] for path in row.settings)
            if row.standing:
                names[f"standing {row.standing} the method's own sparsifier"] = None
    return f"TADrop by {', '.join(names)}" if names else f"each method {ALL}"


def _upwards(table: Table, lines: Methods | None) -> Methods:
    """What has a row with TADrop, from the lowest line to the top."""
    methods = lines or methods_of(table)
    names = list(reversed(methods))
    if not lines:
        best = {name: max(averages_of(rows.values())) for name, rows in methods.items()}
        names = sorted(methods, key=lambda name: best[name])
    upwards: Methods = {}
    for name in names:
        if "TADrop" in methods[name]:
            upwards[name] = methods[name]
    return upwards


def _averages_panel(axes: "Axes", table: Table, methods: Methods) -> None:
    """The averages of every method, with the reference rows as lines."""
    for level, rows in enumerate(methods.values()):
        _averages(axes, rows, level)
    for row in table.rows:
        if not row.is_reference:
            continue
        axes.axvline(
            row.measured,
            color=REFERENCE,
            linestyle="--",
            linewidth=1,
            zorder=0.9,  # above the grid
        )
        axes.annotate(
            label(row),
            (row.measured, len(methods) - 0.4),
            fontsize=7,
            va="bottom",
            ha="center",
            bbox=PATCH,
        )
    axes.set_yticks(range(len(methods)), list(methods), fontsize=7)
    axes.set_ylim(-0.6, len(methods) + 0.1)
    axes.set_xlabel("average accuracy, %")


def _averages(axes: "Axes", rows: Mapping[str, Row], level: int) -> None:
    """A method's averages on one line, with the interval of TADrop's difference.

    The interval begins and ends at the plain row's average plus its two ends.
    """
    averages = averages_of(rows.values())
    ends = [min(averages), max(averages)]
    axes.plot(ends, [level, level], color="#bbbbbb", linewidth=2, zorder=1)
    for variant, row in rows.items():
        style = STYLES[variant]
        axes.scatter(
            row.measured,
            level + OFFSETS.get(variant, 0.0),
            color=style.colour,
            marker=style.marker,
            s=16,
            zorder=3,
            label=style.label,
        )
    plain, interval = rows.get(""), rows["TADrop"].interval
    if plain is not None and interval is not None:
        low, high = interval
        ends = [plain.measured + low, plain.measured + high]
        colour = STYLES["TADrop"].colour
        height = level + OFFSETS["TADrop"]
        axes.plot(ends, [height, height], color=colour, linewidth=1, zorder=2)


def _control_panel(axes: "Axes", methods: Methods) -> None:
    """What every method gains with TADrop over the control."""
    for level, rows in enumerate(methods.values()):
        _versus(axes, rows["TADrop"], level)
    axes.axvline(0, color="#777777", linewidth=0.8, zorder=0)
    axes.set_xlabel("TADrop less control, points")
    axes.tick_params(left=False)
    style = STYLES["TADrop"]
    axes.scatter(
        [],
        [],
        s=14,
        label="95 % interval holds zero",
        edgecolor=style.colour,
        facecolor="white",
        marker=style.marker,
    )


def _versus(axes: "Axes", row: Row, level: int) -> None:
    """The difference to the control and its 95 % interval.

    The marker is hollow where the interval holds zero.
    """
    if row.versus is None:
        return
    style = STYLES["TADrop"]
    low, high = row.versus_interval or (row.versus, row.versus)
    axes.plot([low, high], [level, level], color=style.colour, linewidth=1.2, zorder=2)
    axes.scatter(
        row.versus,
        level,
        edgecolor=style.colour,
        facecolor=style.colour if side((low, high)) else "white",
        marker=style.marker,
        s=14,
        zorder=3,
    )


def task_gains(table: Table, name: str) -> "Figure":
    """One method task by task, largest gain on top.

    Plain against TADrop is a dumbbell, with the controls beside it.
    """
    rows = methods_of(table)[name]
    plain, adaptive = rows[""].values, rows["TADrop"].values
    tasks = sorted(table.tasks, key=lambda task: adaptive[task] - plain[task])
    figure = new_figure(WIDTH, 0.22 * len(tasks) + 1.2)
    axes = figure.subplots()
    for level, task in enumerate(tasks):
        ends = [plain[task], adaptive[task]]
        axes.plot(ends, [level, level], color="#bbbbbb", linewidth=2, zorder=1)
        for variant in _variants({name: rows}):
            style = STYLES[variant]
            axes.scatter(
                rows[variant].values[task],
                level + OFFSETS.get(variant, 0.0),
                s=22,
                zorder=2,
                edgecolor=style.colour,
                facecolor=style.colour if variant in ("", "TADrop") else "none",
                marker=style.marker,
                label=style.label,
            )
    axes.set_yticks(range(len(tasks)), list(map(readable, tasks)), fontsize=8)
    axes.set_xlabel("accuracy, %")
    axes.set_title(f"{name} task by task: {table.title}", fontsize=9)
    bare(axes)
    legend(figure, [axes])
    return figure
