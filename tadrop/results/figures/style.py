"""What all figures share: size, colours, markers, legends, and how they are saved.

Colours are those of Okabe and Ito. What a line is can be told without its colour: every
variant has a marker and a dash of its own.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tadrop.storage.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.8  # inches: the text width of a one-column paper


class Style(NamedTuple):
    """How a variant is drawn."""

    label: str
    colour: str
    marker: str
    dash: str


STYLES = {
    "": Style("plain", "#4d4d4d", "o", "-"),
    "TADrop": Style("+ TADrop", "#d55e00", "s", "-"),
    "uniform": Style("+ uniform control", "#0072b2", "^", "--"),
    "inverted": Style("+ inverted", "#cc79a7", "v", ":"),
    "shuffled": Style("+ shuffled", "#009e73", "D", "-."),
    "pooled": Style("+ one threshold", "#e69f00", "P", "-."),
}
REFERENCE = "#009e73"  # the colour of a model before merging
PATCH = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # behind a text


def new_figure(width: float, height: float) -> "Figure":
    """A figure that needs no display; sizes in inches.

    Text stays text in vector files.
    """
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(
        {"svg.hashsalt": "tadrop", "svg.fonttype": "none", "font.size": 9}
    )
    return Figure(figsize=(width, height), layout="constrained")


def bare(axes: "Axes") -> None:
    """Takes away the upper and the right side of a plot's frame."""
    axes.spines[["top", "right"]].set_visible(False)


def panels_of(
    count: int, height: float = 2.3, shared: bool = True
) -> tuple["Figure", list["Axes"]]:
    """A figure of so many panels, three in a line.

    shared: their y axis, so that panels can be compared; else each shows its own range
    """
    columns = min(count, 3)
    lines = -(-count // columns)
    figure = new_figure(WIDTH, height * lines + 0.4)
    grid = figure.subplots(lines, columns, sharey=shared, squeeze=False).ravel()
    for axes in grid:
        bare(axes)
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, list(grid[:count])


def draw_line(
    axes: "Axes", variant: str, xs: Sequence[int | float], ys: Sequence[float]
) -> None:
    """A line in the style of a variant."""
    style = STYLES[variant]
    axes.plot(
        xs,
        ys,
        color=style.colour,
        marker=style.marker,
        linestyle=style.dash,
        label=style.label,
        markersize=3.5,
        linewidth=1.2,
    )


def reference_level(axes: "Axes", level: float, text: str, zorder: float = 2.0) -> None:
    """A level line for a model before merging, with its name to the right."""
    axes.axhline(level, color=REFERENCE, linestyle="--", linewidth=1, zorder=zorder)
    axes.annotate(
        text,
        (1.01, level),
        xycoords=("axes fraction", "data"),
        fontsize=7,
        va="center",
    )


def write_cells(
    axes: "Axes", values: "np.ndarray", form: str, middle: float, size: int
) -> None:
    """Writes each number of a map where it stands, in a colour that can be read there.

    form: of the text, such as {:.1f}; middle: the value above which cells are light
    """
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            if value != value:  # an empty cell
                continue
            axes.text(
                x,
                y,
                form.format(value),
                ha="center",
                va="center",
                fontsize=size,
                color="k" if value > middle else "w",
            )


def legend(
    figure: "Figure", panels: Iterable["Axes"], columns: int = 5, size: int = 8
) -> None:
    """One legend under all panels, in as many columns as fit.

    There is none where nothing has a name.
    """
    lines = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    if not lines:
        return
    for count in range(columns, 0, -1):
        drawn = figure.legend(
            list(lines.values()),
            list(lines),
            loc="outside lower center",
            ncols=count,
            fontsize=size,
            frameon=False,
        )
        if count == 1 or drawn.get_window_extent().width <= figure.bbox.width:
            return
        drawn.remove()


def save(figure: "Figure", stem: Path) -> list[Path]:
    """Writes stem.svg and stem.png, the same bytes each time."""
    paths = []
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        path = stem.with_suffix(suffix)
        write_atomically(path, partial(figure.savefig, dpi=200, metadata=metadata))
        paths.append(path)
    return paths


def write_figures(folder: Path, figures: Sequence[tuple[str, "Figure"]]) -> list[Path]:
    """Saves (name, figure) pairs under a folder."""
    paths: list[Path] = []
    for name, figure in figures:
        paths += save(figure, folder / name)
    return paths
