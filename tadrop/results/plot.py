"""Figures: pure functions of records, vector and PNG, legible at paper width, safe for
colour-blind readers.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tadrop.results.labels import label_points
from tadrop.results.table import Row, Table, size
from tadrop.storage.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

STYLES = {  # variant: label, colour, marker, dash
    "": ("plain", "#4d4d4d", "o", "-"),
    "TADrop": ("+ TADrop", "#d55e00", "s", "-"),
    "uniform": ("+ uniform control", "#0072b2", "^", "--"),
    "inverted": ("+ inverted", "#cc79a7", "v", ":"),
    "shuffled": ("+ shuffled", "#009e73", "D", "-."),
}
IN_BARS = (
    "",
    "TADrop",
    "uniform",
)  # more bars a method than these are too thin to read
MOST_LETTERS = (
    40  # names longer than this, taken together, leave two maps side by side no room
)
MOST_WRITTEN = 14  # cells in a row that still hold a number


def new_figure(width: float, height: float) -> "Figure":
    """A figure that needs no display; sizes in inches. Text stays text in vector files."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(
        {"svg.hashsalt": "tadrop", "svg.fonttype": "none", "font.size": 9}
    )
    return Figure(figsize=(width, height), layout="constrained")


def legend(
    figure: "Figure", panels: Iterable["Axes"], columns: int = 5, size: int = 8
) -> None:
    """One legend under all panels, in as many columns as fit; none where nothing has a
    name.
    """
    found = {
        label: line
        for axes in panels
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    for count in range(columns, 0, -1) if found else ():
        place = {"loc": "outside lower center", "ncols": count}
        made = figure.legend(
            found.values(), found.keys(), **place, fontsize=size, frameon=False
        )
        if count == 1 or made.get_window_extent().width <= figure.bbox.width:
            break
        made.remove()


def save(figure: "Figure", stem: Path) -> list[Path]:
    """Writes stem.svg and stem.png, the same bytes each time."""
    paths = []
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        path = stem.with_suffix(suffix)
        write_atomically(
            path, lambda t, m=metadata: figure.savefig(t, dpi=200, metadata=m)
        )
        paths.append(path)
    return paths


LABEL = re.compile(r"(?P<variant>\w*)(?:, (?P<place>\w+))?(?: \((?P<settings>.*)\))?")


def _named(table: Table) -> list[tuple[str, str, str, Row]]:
    """(title, variant, its settings, row) of the rows that merge: "  + TADrop, before (norm=l1)"
    below its method.
    """
    found, title = [], ""
    for row in table.rows:
        if row.density is None:  # references and published rows
            continue
        head, _, words = row.label.partition(" + ")
        title = (
            head.strip() or title
        )  # blank where the row stands below its method's plain one
        label = LABEL.fullmatch(words)
        if label and label["variant"] in STYLES:
            found.append(
                (
                    title,
                    label["variant"],
                    ", ".join(filter(None, label.group("place", "settings"))),
                    row,
                )
            )
    return found


def methods_of(table: Table) -> list[tuple[str, dict[str, Row]]]:
    """(title, {variant: row}) per method, without the reference rows and those of
    several settings.
    """
    methods: dict[str, dict[str, Row]] = {}
    for title, variant, settings, row in _named(table):
        if "=" not in settings:
            methods.setdefault(title, {}).setdefault(variant, row)
    return list(methods.items())


def settings_of(table: Table) -> list[tuple[str, dict[str, Row]]]:
    """As methods_of, with an entry for each setting that a table compares: (TIES,
    norm=l1). Empty where it has none.
    """
    named = _named(table)
    if not any(settings for *_, settings, _ in named):
        return []
    plain = {title: row for title, variant, _, row in named if not variant}
    found: dict[str, dict[str, Row]] = {}
    for title, variant, settings, row in named:
        if variant:
            start = {"": plain[title]} if title in plain else {}
            found.setdefault(
                ", ".join(filter(None, (title, settings))), start
            ).setdefault(variant, row)
    return list(found.items())


def accuracy_bars(table: Table) -> "Figure":
    """Average accuracy per method: plain, with TADrop, with the control; reference rows
    as lines.
    """
    methods = methods_of(table)
    figure = new_figure(6.8, 3.2)
    axes = figure.subplots()
    width = 0.8 / len(IN_BARS)
    for i, variant in enumerate(IN_BARS):
        label, colour, *_ = STYLES[variant]
        bars = [
            (x + (i - 1) * width, rows[variant].average)
            for x, (_, rows) in enumerate(methods)
            if variant in rows
        ]
        if bars:
            drawn = axes.bar(*zip(*bars, strict=True), width, label=label, color=colour)
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            axes.bar_label(drawn, fmt="%.1f", fontsize=7, padding=2, bbox=box)
    for row in table.rows:
        if row.is_reference:
            axes.axhline(
                row.average, color="#009e73", linestyle="--", linewidth=1, zorder=0
            )
            at = (1.01, row.average)
            axes.annotate(
                f"{row.label}\n{row.average:.1f}",
                at,
                xycoords=("axes fraction", "data"),
                fontsize=7,
                va="center",
            )
    axes.set_xticks(range(len(methods)), [title for title, _ in methods], fontsize=8)
    averages = [row.average for row in table.rows if not row.source]
    axes.set_ylim(0, min(100, max(averages) + 8))
    axes.set_ylabel("average accuracy, %")
    axes.set_title(table.title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    legend(figure, [axes], columns=3)
    return figure


def place(tensor: str) -> tuple[str, str]:
    """(layer, kind) of a tensor name: blocks.3.qkv.weight -> (3, qkv.weight)."""
    words = tensor.split(".")
    numbers = [i for i, word in enumerate(words) if word.isdigit()]
    if words[0] in ("blocks", "layers", "h") or (
        numbers and numbers[0] > 0 and len(words) - numbers[0] > 2
    ):
        return words[numbers[0]], ".".join(words[numbers[0] + 1 :])
    return "other", tensor


def sparsity_map(statistics: "DataFrame", title: str = "") -> "Figure":
    """Mean sparsity over tasks for each kind of tensor (rows) and layer (columns).

    Tensors that are in no layer stand to the right, or below where names are long.
    """
    frame = statistics.assign(place=[place(name) for name in statistics["tensor"]])
    frame["layer"], frame["kind"] = zip(*frame["place"], strict=True)
    inner, outer = frame[frame["layer"] != "other"], frame[frame["layer"] == "other"]
    grids = [
        inner.pivot_table("sparsity", "kind", "layer"),
        outer.pivot_table("sparsity", "kind", "layer"),
    ]
    grids[0] = grids[0][sorted(grids[0].columns, key=int)]  # 2 before 10
    counts = [max(len(grid), 1) for grid in grids]
    if sum(grid.index.str.len().max() for grid in grids if len(grid)) > MOST_LETTERS:
        figure = new_figure(6.8, 0.24 * sum(counts) + 1.8)
        axes = figure.subplots(2, 1, height_ratios=counts)
    else:
        figure = new_figure(6.8, 0.24 * max(counts) + 1.2)
        axes = figure.subplots(1, 2, width_ratios=[max(grids[0].shape[1], 1), 1.2])
    top = max(float(grid.max(axis=None)) for grid in grids if grid.size)
    for axis, grid in zip(axes, grids, strict=True):
        image = axis.imshow(grid, cmap="cividis", vmin=0, vmax=top, aspect="auto")
        axis.set_xticks(
            range(grid.shape[1]),
            grid.columns if axis is axes[0] else ["not in a block"],
            fontsize=8,
        )
        axis.set_yticks(range(grid.shape[0]), grid.index, fontsize=7)
        if grid.shape[1] <= MOST_WRITTEN:
            _annotate(axis, grid.to_numpy(), top)
    axes[0].set_xlabel("block")
    figure.colorbar(image, ax=axes, label="sparsity (fraction dropped)")
    figure.suptitle(title, fontsize=9)
    return figure


def _annotate(axis: "object", values: "object", top: float) -> None:
    """Writes each cell's value in a colour that can be read on it."""
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if value == value:
                axis.text(
                    x,
                    y,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="k" if value > top / 2 else "w",
                )


def heat_map(grid: "DataFrame", title: str, label: str) -> "Figure":
    """A grid of numbers with its axis names, each cell labelled."""
    figure = new_figure(0.62 * grid.shape[1] + 2.2, 0.38 * grid.shape[0] + 1.3)
    axes = figure.subplots()
    image = axes.imshow(grid, cmap="cividis", aspect="auto")
    axes.set_xticks(range(grid.shape[1]), grid.columns)
    axes.set_yticks(range(grid.shape[0]), grid.index)
    axes.set_xlabel(grid.columns.name)
    axes.set_ylabel(grid.index.name)
    low, high = float(grid.min(axis=None)), float(grid.max(axis=None))
    for y, row in enumerate(grid.to_numpy()):
        for x, value in enumerate(row):
            if value == value:
                colour = "k" if value > (low + high) / 2 else "w"
                axes.text(
                    x,
                    y,
                    f"{value:.1f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=colour,
                )
    figure.colorbar(image, label=label)
    axes.set_title(title, fontsize=9)
    return figure


def write_figures(folder: Path, figures: Sequence[tuple[str, "Figure"]]) -> list[Path]:
    """Saves (name, figure) pairs under a folder."""
    return [path for name, figure in figures for path in save(figure, folder / name)]


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
SEEN = {  # the first words that a row's data has, and their marker
    "test inputs": "X",
    "training inputs": "^",
    "validation labels": "s",
    "": "o",
}


def _seen(row: Row) -> str:
    return next(word for word in SEEN if word in row.data)


def accuracy_against_storage(table: Table) -> "Figure":
    """Average accuracy against bytes stored a task beside the base; shape says what
    data a method saw.
    """
    figure = new_figure(6.8, 4.4)
    axes = figure.subplots()
    methods, count = methods_of(table), len(table.tasks)
    for variant in ("", "TADrop"):
        label, colour, *_ = STYLES[variant]
        for word, marker in SEEN.items():
            rows = [
                found[variant]
                for _, found in methods
                if variant in found and _seen(found[variant]) == word
            ]
            if rows:
                places = [(row.stored_bytes / count, row.average) for row in rows]
                axes.scatter(
                    *zip(*places, strict=True),
                    s=26,
                    marker=marker,
                    color=colour,
                    alpha=0.8,
                    linewidths=0,
                )
        axes.scatter([], [], color=colour, label=label)
    for word, marker in SEEN.items():
        axes.scatter(
            [],
            [],
            color="#999999",
            marker=marker,
            label=f"saw {word or 'none of these'}",
        )
    for row in table.rows:
        if row.is_reference:
            axes.axhline(row.average, color="#009e73", linestyle="--", linewidth=1)
            at = (1.01, row.average)
            axes.annotate(
                row.label,
                at,
                xycoords=("axes fraction", "data"),
                fontsize=7,
                va="center",
            )
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(lambda value, at: size(value))
    axes.xaxis.set_minor_formatter(
        lambda value, at: size(value) if f"{value:e}"[0] in "25" else ""
    )
    axes.tick_params(
        axis="x", which="both", length=3.5
    )  # so that labels of both kinds stand on one line
    axes.set_xlabel("stored beside the base, per task")
    axes.set_ylabel("average accuracy, %")
    axes.set_title(table.title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    legend(figure, [axes])
    named = _best([(title, rows[""]) for title, rows in methods if "" in rows])
    label_points(
        axes, [(title, row.stored_bytes / count, row.average) for title, row in named]
    )
    return figure


def _best(rows: Sequence[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """The best method of each kind at every amount of storage, amounts within a fifth
    taken together.
    """
    best: list[tuple[str, Row]] = []
    for title, row in sorted(rows, key=lambda pair: -pair[1].average):
        rivals = [other for _, other in best if _seen(other) == _seen(row)]
        if all(
            not 0.8 < row.stored_bytes / other.stored_bytes < 1.25 for other in rivals
        ):
            best.append((title, row))
    return best


def accuracy_against_tasks(tables: Sequence[Table], most: int = 8) -> "Figure":
    """Left: average accuracy of the best methods as tasks are added. Right: what TADrop
    adds to each of them.
    """
    tables = sorted(tables, key=lambda table: len(table.tasks))
    counts = [len(table.tasks) for table in tables]
    found = [dict(methods_of(table)) for table in tables]
    everywhere = [
        title
        for title in found[0]
        if all("" in methods.get(title, {}) for methods in found)
    ]
    everywhere.sort(
        key=lambda title: -sum(methods[title][""].average for methods in found)
    )
    figure = new_figure(6.8, 3.6)
    left, right = figure.subplots(1, 2)
    for title, colour, marker in zip(
        everywhere[:most], OKABE_ITO, MARKERS, strict=False
    ):
        style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
        left.plot(
            counts,
            [methods[title][""].average for methods in found],
            label=title,
            **style,
        )
        gains = [
            (n, m[title]["TADrop"].difference)
            for n, m in zip(counts, found, strict=True)
            if "TADrop" in m[title]
        ]
        if gains:
            right.plot(*zip(*gains, strict=True), **style)
    for name, line in (("Individual", "--"), ("Pretrained", ":")):
        rows = [
            next((row.average for row in table.rows if row.label == name), None)
            for table in tables
        ]
        if None not in rows:
            left.plot(
                counts, rows, color="#777777", linestyle=line, linewidth=1, label=name
            )
    right.axhline(0, color="#777777", linewidth=0.8)
    left.set_ylabel("average accuracy, %")
    right.set_ylabel("difference with TADrop, points")
    for axes in (left, right):
        axes.set_xticks(counts)
        axes.set_xlabel("tasks merged")
        axes.spines[["top", "right"]].set_visible(False)
    legend(figure, [left, right], columns=4, size=7)
    return figure
