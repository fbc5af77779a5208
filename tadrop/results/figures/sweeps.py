"""Figures of sweeps: over lambda, density, the number of tasks, pairs of quantiles."""

from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING

from tadrop.results.figures.methods import methods_of
from tadrop.results.figures.style import (
    STYLES,
    draw_line,
    legend,
    new_figure,
    panels_of,
    write_cells,
)
from tadrop.results.identity import variant
from tadrop.results.record import Record
from tadrop.results.row import average
from tadrop.results.table import Table, task_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

# Averages in percent by variant and density.
Densities = dict[str, dict[float, list[float]]]
LEAST_PAIRS = 4  # of quantiles: fewer are no grid


def lambda_curves(records: Sequence[Record], title: str = "") -> "Figure | None":
    """Validation average against lambda, one panel a method; the chosen lambda ringed.

    None where no record has a grid.
    """
    methods: dict[str, dict[str, Record]] = {}
    for record in records:
        config = record["config"]
        if len(record["selection"]["grid"]) > 1 and variant(config) in STYLES:
            variants = methods.setdefault(config["merge"]["title"], {})
            variants.setdefault(variant(config), record)
    if not methods:
        return None
    figure, panels = panels_of(len(methods))
    for axes, (name, variants) in zip(panels, methods.items(), strict=True):
        for word, record in variants.items():
            _lambda_curve(axes, word, record)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("lambda")
    panels[0].set_ylabel("validation average, %")
    _entitle(figure, panels, title, "accuracy on validation data against lambda")
    return figure


def _entitle(figure: "Figure", panels: Sequence["Axes"], title: str, said: str) -> None:
    """Gives a figure its legend, and above it what it shows of which suite."""
    legend(figure, panels)
    figure.suptitle(f"{title}: {said}" if title else said, fontsize=9)


def _lambda_curve(axes: "Axes", word: str, record: Record) -> None:
    """One variant's averages over its grid, with a ring around the choice."""
    averages = {scale: 100 * value for scale, value in record["selection"]["grid"]}
    draw_line(axes, word, list(averages), list(averages.values()))
    best = record["selection"]["scale"]
    axes.plot(best, averages[best], "o", ms=9, mfc="none", mec=STYLES[word].colour)


def density_curves(records: Sequence[Record], title: str = "") -> "Figure | None":
    """Average against the density that is set, one panel a method; plain as a level.

    Of several records at one density, as of seeds, the mean. None where fewer than two
    densities are set.
    """
    methods: dict[str, Densities] = {}
    levels: dict[str, float] = {}
    for record in records:
        config = record["config"]
        density = (config["tadrop"] or {}).get("density")
        name, word = config["merge"]["title"], variant(config)
        if not word:
            levels.setdefault(name, average(record))
        elif word in STYLES and isinstance(density, int | float):
            points = methods.setdefault(name, {}).setdefault(word, {})
            points.setdefault(density, []).append(average(record))
    if max(map(_most, methods.values()), default=0) < 2:
        return None
    figure, panels = panels_of(len(methods), shared=False)
    for axes, (name, variants) in zip(panels, methods.items(), strict=True):
        if name in levels:
            colour = STYLES[""].colour
            axes.axhline(levels[name], color=colour, linewidth=1, label="plain")
        densities: list[float] = []
        for word, points in variants.items():
            densities = sorted(points)
            means = [mean(points[density]) for density in densities]
            draw_line(axes, word, densities, means)
        axes.set_xscale("log")
        ticks = _apart(densities)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("density")
    panels[0].set_ylabel("average accuracy, %")
    _entitle(figure, panels, title, "accuracy against density")
    return figure


def _apart(densities: Sequence[float]) -> list[float]:
    """Those of ascending densities that have room on a logarithmic axis."""
    ticks: list[float] = []
    for density in reversed(densities):
        if not ticks or density < 0.6 * ticks[-1]:
            ticks.append(density)
    return ticks[::-1]


def _most(variants: Densities) -> int:
    """The most densities that a variant has."""
    return max(map(len, variants.values()))


def task_counts(tables: Sequence[Table]) -> "Figure | None":
    """Normalised average against the number of tasks, one panel a method.

    None where all tables have one number of tasks.
    """
    methods: dict[str, dict[str, list[tuple[int, float]]]] = {}
    counts = sorted(set(map(task_count, tables)))
    for table in sorted(tables, key=task_count):
        for name, rows in methods_of(table).items():
            for word, row in rows.items():
                if row.normalised is not None:
                    line = methods.setdefault(name, {}).setdefault(word, [])
                    line.append((task_count(table), row.normalised))
    if len(counts) < 2 or not methods:
        return None
    figure, panels = panels_of(len(methods))
    for axes, (name, lines) in zip(panels, methods.items(), strict=True):
        for word, line in lines.items():
            draw_line(axes, word, *zip(*line, strict=True))
        axes.set_title(name, fontsize=9)
        axes.set_xticks(counts)
        axes.set_xlabel("tasks")
    panels[0].set_ylabel("% of the individual models")
    figure.suptitle(
        "What is left of the individual models as tasks are added", fontsize=9
    )
    legend(figure, panels)
    return figure


def quantile_grid(records: Sequence[Record]) -> "dict[str, DataFrame]":
    """Average in percent by q_lo (rows) and q_hi (columns) of each method and norm.

    Grids of fewer than four pairs are left out.
    """
    from pandas import DataFrame

    points: dict[str, list[tuple[float, float, float]]] = {}
    for record in records:
        config = record["config"]
        if variant(config) == "TADrop":
            tadrop = config["tadrop"]
            name = f"{config['merge']['title']}, norm {tadrop['norm']}"
            values = [score["value"] for score in record["scores"]]
            average = 100 * sum(values) / len(values)
            point = (tadrop["q_lo"], tadrop["q_hi"], average)
            points.setdefault(name, []).append(point)
    grids: dict[str, DataFrame] = {}
    for name, triples in points.items():
        if len({(low, high) for low, high, _ in triples}) >= LEAST_PAIRS:
            frame = DataFrame(triples, columns=["q_lo", "q_hi", "average"])
            grids[name] = frame.pivot_table("average", "q_lo", "q_hi")
    return grids


def heat_map(grid: "DataFrame", title: str, label: str) -> "Figure":
    """A grid of numbers with its axis names, each cell labelled."""
    figure = new_figure(0.62 * grid.shape[1] + 2.2, 0.38 * grid.shape[0] + 1.3)
    axes = figure.subplots()
    image = axes.imshow(grid, cmap="cividis", aspect="auto")
    axes.set_xticks(range(grid.shape[1]), grid.columns)
    axes.set_yticks(range(grid.shape[0]), grid.index)
    axes.set_xlabel(str(grid.columns.name))
    axes.set_ylabel(str(grid.index.name))
    values = grid.to_numpy()
    middle = (float(grid.min(axis=None)) + float(grid.max(axis=None))) / 2
    write_cells(axes, values, "{:.1f}", middle, 7)
    figure.colorbar(image, label=label)
    axes.set_title(title, fontsize=9)
    return figure
