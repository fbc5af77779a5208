"""Figures of sweeps, drawn like those of tadrop/plot.py: pure functions of records,
Okabe-Ito colours, paper width.

What a line is can be told without its colour: every variant has a marker and a dash of
its own.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tadrop.results.plot import STYLES, legend, methods_of, new_figure, place
from tadrop.results.record import Record
from tadrop.results.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

WIDTH = 6.8  # inches: the text width of a one-column paper
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#4d4d4d",
    "#882255",
)
MARKERS = "osv^DPX*<>ph"
MOST_BANDS = 4  # more ranges than this hide one another
MOST_TICKS = 8  # numbers under a third of the width


def variant(record: Record) -> str:
    """ "" without TADrop, else TADrop or the control's name."""
    tadrop = record["config"]["tadrop"]
    return (
        ""
        if tadrop is None
        else "TADrop"
        if tadrop["assign"] == "adaptive"
        else tadrop["assign"]
    )


def _panels(count: int, height: float = 2.3) -> tuple["Figure", list["Axes"]]:
    """A figure of so many panels, three in a line, that share their y axis."""
    columns = min(count, 3)
    lines = -(-count // columns)
    figure = new_figure(WIDTH, height * lines + 0.4)
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, list(grid[:count])


def _line(axes: "Axes", name: str, xs: Sequence[float], ys: Sequence[float]) -> None:
    label, colour, marker, dash = STYLES[name]
    axes.plot(
        xs,
        ys,
        color=colour,
        marker=marker,
        linestyle=dash,
        label=label,
        markersize=3.5,
        linewidth=1.2,
    )


def lambda_curves(records: Sequence[Record], title: str = "") -> "Figure | None":
    """Validation average against lambda, one panel a method; the chosen lambda ringed.
    None without a grid.
    """
    titles: dict[str, dict[str, Record]] = {}
    for record in records:
        if len(record["selection"]["grid"]) > 1 and variant(record) in STYLES:
            titles.setdefault(record["config"]["merge"]["title"], {}).setdefault(
                variant(record), record
            )
    if not titles:
        return None
    figure, panels = _panels(len(titles))
    for axes, (name, found) in zip(panels, titles.items(), strict=True):
        for kind, record in found.items():
            xs, ys = zip(*record["selection"]["grid"], strict=True)
            _line(axes, kind, xs, [100 * y for y in ys])
            best = record["selection"]["scale"]
            axes.plot(
                best,
                100 * dict(zip(xs, ys, strict=True))[best],
                "o",
                ms=9,
                mfc="none",
                mec=STYLES[kind][1],
            )
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("lambda")
    panels[0].set_ylabel("validation average, %")
    legend(figure, panels)
    figure.suptitle(title, fontsize=9)
    return figure


def task_counts(tables: Sequence[Table]) -> "Figure | None":
    """Normalised average against the number of tasks, one panel a method. None where
    all have one number of tasks.
    """
    points: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for table in sorted(tables, key=lambda table: len(table.tasks)):
        for name, rows in methods_of(table):
            for kind, row in rows.items():
                if row.normalised is not None:
                    points.setdefault(name, {}).setdefault(kind, []).append(
                        (len(table.tasks), row.normalised)
                    )
    if len({len(table.tasks) for table in tables}) < 2 or not points:
        return None
    figure, panels = _panels(len(points))
    for axes, (name, kinds) in zip(panels, points.items(), strict=True):
        for kind, line in kinds.items():
            _line(axes, kind, *zip(*line, strict=True))
        axes.set_title(name, fontsize=9)
        axes.set_xticks(sorted({len(table.tasks) for table in tables}))
        axes.set_xlabel("tasks")
    panels[0].set_ylabel("% of the individual models")
    legend(figure, panels)
    return figure


def gains(
    table: Table, lines: Sequence[tuple[str, Mapping[str, Row]]] | None = None
) -> "Figure | None":
    """One line a method. Left: plain, with TADrop (and its interval), the control.
    Right: TADrop less the control.

    lines: what to draw in place of the methods, the first on top
    """
    methods = [
        (name, rows) for name, rows in lines or methods_of(table) if "TADrop" in rows
    ]
    if not methods:
        return None
    methods = (
        methods[::-1]
        if lines
        else sorted(methods, key=lambda item: max(r.average for r in item[1].values()))
    )
    controlled = any(rows["TADrop"].versus is not None for _, rows in methods)
    figure = new_figure(WIDTH, 0.2 * len(methods) + 1.3)
    axes, *rest = figure.subplots(
        1,
        1 + controlled,
        sharey=True,
        squeeze=False,
        width_ratios=[2.2, 1][: 1 + controlled],
    )[0]
    for y, (_, rows) in enumerate(methods):
        _averages(axes, rows, y)
        for against in rest:
            _versus(against, rows["TADrop"], y)
    for row in table.rows:
        if row.is_reference:
            axes.axvline(
                row.average, color="#009e73", linestyle="--", linewidth=1, zorder=0.9
            )  # above the grid
            at = {
                "va": "bottom",
                "ha": "center",
                "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            }
            axes.annotate(
                row.label, (row.average, len(methods) - 0.4), fontsize=7, **at
            )
    axes.set_yticks(range(len(methods)), [name for name, _ in methods], fontsize=7)
    axes.set_ylim(-0.6, len(methods) + 0.1)
    axes.set_xlabel("average accuracy, %")
    for against in rest:  # at most one
        against.axvline(0, color="#777777", linewidth=0.8, zorder=0)
        against.set_xlabel("TADrop less control, points")
        against.tick_params(left=False)
        style = {
            "edgecolor": STYLES["TADrop"][1],
            "facecolor": "white",
            "marker": STYLES["TADrop"][2],
        }
        against.scatter([], [], s=14, label="95 % interval holds zero", **style)
    for panel in (axes, *rest):
        panel.grid(axis="y", color="#eeeeee", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    legend(figure, [axes, *rest])
    figure.suptitle(table.title, fontsize=9)
    return figure


def _averages(axes: "Axes", rows: Mapping[str, Row], y: float) -> None:
    """A method's averages on one line, and the interval of TADrop's difference at the
    plain row plus its two ends.
    """
    averages = [row.average for row in rows.values()]
    axes.plot(
        [min(averages), max(averages)], [y, y], color="#bbbbbb", linewidth=2, zorder=1
    )
    for kind, row in rows.items():
        label, colour, marker, _ = STYLES[kind]
        axes.scatter(
            row.average, y, color=colour, marker=marker, s=16, zorder=3, label=label
        )
    ours, plain = rows["TADrop"], rows.get("")
    if plain is not None and ours.interval is not None:
        ends = [plain.average + end for end in ours.interval]
        axes.plot(ends, [y, y], color=STYLES["TADrop"][1], linewidth=1, zorder=2)


def _versus(axes: "Axes", ours: Row, y: float) -> None:
    """The difference to the control and its 95 % interval; hollow where the interval
    holds zero.
    """
    if ours.versus is None:
        return
    _, colour, marker, _ = STYLES["TADrop"]
    low, high = ours.versus_interval or (ours.versus, ours.versus)
    axes.plot([low, high], [y, y], color=colour, linewidth=1.2, zorder=2)
    face = "white" if low <= 0 <= high else colour
    axes.scatter(
        ours.versus, y, edgecolor=colour, facecolor=face, marker=marker, s=14, zorder=3
    )


def task_gains(table: Table, name: str) -> "Figure":
    """One method task by task: plain against TADrop as a dumbbell, the control beside
    it; largest gain on top.
    """
    rows = dict(methods_of(table))[name]
    tasks = sorted(
        table.tasks, key=lambda t: rows["TADrop"].values[t] - rows[""].values[t]
    )
    figure = new_figure(WIDTH, 0.22 * len(tasks) + 1.2)
    axes = figure.subplots()
    for y, task in enumerate(tasks):
        axes.plot(
            [rows[""].values[task], rows["TADrop"].values[task]],
            [y, y],
            color="#bbbbbb",
            linewidth=2,
            zorder=1,
        )
        for kind in ("", "TADrop", "uniform"):
            if kind in rows:
                label, colour, marker, _ = STYLES[kind]
                face = "none" if kind == "uniform" else colour
                style = {
                    "edgecolor": colour,
                    "facecolor": face,
                    "marker": marker,
                    "label": label,
                }
                axes.scatter(rows[kind].values[task], y, s=22, zorder=2, **style)
    axes.set_yticks(
        range(len(tasks)), [task.replace("_", " ") for task in tasks], fontsize=8
    )
    axes.set_xlabel("accuracy, %")
    axes.set_title(f"{name}, {table.title}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    legend(figure, [axes])
    return figure


def tensor_profile(statistics: "DataFrame", title: str = "") -> "Figure":
    """Ratio, sparsity and scale of each kind of tensor by depth, mean over tasks;
    ranges where kinds are few.
    """
    frame = statistics.copy()
    frame["layer"], frame["kind"] = zip(
        *(place(name) for name in frame["tensor"]), strict=True
    )
    frame = frame[frame["layer"] != "other"].assign(
        layer=lambda f: f["layer"].astype(int)
    )
    kinds, blocks = sorted(frame["kind"].unique()), sorted(frame["layer"].unique())
    figure = new_figure(WIDTH, 3.0 + 0.13 * len(kinds))
    panels = figure.subplots(1, 3)
    shown = {
        "ratio": "ratio R",
        "sparsity": "fraction dropped",
        "scale": "rescale factor",
    }
    for axes, (column, heading) in zip(panels, shown.items(), strict=True):
        for i, kind in enumerate(kinds):
            values = frame[frame["kind"] == kind].groupby("layer")[column]
            colour, middle = COLOURS[i % len(COLOURS)], values.mean()
            dash = ("-", "--", ":")[i // len(COLOURS) % 3]
            marker = MARKERS[i % len(MARKERS)]
            axes.plot(
                middle.index,
                middle,
                color=colour,
                marker=marker,
                linestyle=dash,
                ms=3.5,
                lw=1,
                label=kind,
            )
            if len(kinds) <= MOST_BANDS:
                axes.fill_between(
                    middle.index,
                    values.min(),
                    values.max(),
                    color=colour,
                    alpha=0.1,
                    linewidth=0,
                )
        axes.set_title(heading, fontsize=9)
        axes.set_xticks(blocks[:: -(-len(blocks) // MOST_TICKS)])
        axes.set_xlabel("block")
        axes.spines[["top", "right"]].set_visible(False)
    legend(figure, panels)
    figure.suptitle(title, fontsize=9)
    return figure


def similarity(cosines: "DataFrame", title: str = "") -> "Figure":
    """Cosine similarity of every pair of task vectors."""
    side = 0.2 * len(cosines) + 2.2
    figure = new_figure(min(side + 0.8, WIDTH), min(side, 6.2))
    axes = figure.subplots()
    off = [
        value
        for i, row in enumerate(cosines.to_numpy())
        for j, value in enumerate(row)
        if i != j
    ]
    shown = cosines.mask(
        [[i == j for j in range(len(cosines))] for i in range(len(cosines))]
    )
    image = axes.imshow(shown, cmap="cividis", vmin=min(0.0, *off), vmax=max(off))
    names = [name.replace("_", " ") for name in cosines.index]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    figure.colorbar(image, label="cosine")
    axes.set_title(title, fontsize=9)
    return figure


def quantile_grid(records: Sequence[Record]) -> "dict[str, DataFrame]":
    """Average in percent by q_lo (rows) and q_hi (columns) of each method and norm;
    four pairs or more.
    """
    from pandas import DataFrame

    found: dict[str, list[tuple[float, float, float]]] = {}
    for record in records:
        if variant(record) == "TADrop":
            tadrop, scores = (
                record["config"]["tadrop"],
                [score["value"] for score in record["scores"]],
            )
            point = (tadrop["q_lo"], tadrop["q_hi"], 100 * sum(scores) / len(scores))
            found.setdefault(
                f"{record['config']['merge']['title']}, norm {tadrop['norm']}", []
            ).append(point)
    grids = {}
    for name, points in found.items():
        if len({point[:2] for point in points}) >= 4:
            frame = DataFrame(points, columns=["q_lo", "q_hi", "average"])
            grids[name] = frame.pivot_table("average", "q_lo", "q_hi")
    return grids
