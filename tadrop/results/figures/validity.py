"""Published averages against ours, a panel for each published table."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tadrop.results.figures.labels import label_points
from tadrop.results.figures.style import REFERENCE, WIDTH, bare, new_figure
from tadrop.results.validity.page import CALIBRATION, Compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 3.6  # inches of one panel
COLUMNS = 2


def scatter(pairs: Sequence[Compared], name_of: Callable[[str], str]) -> "Figure":
    """Each method's published average (x) against ours (y), both in percent.

    Rows by which the suite may be tuned are hollow.
    """
    lines = -(-len(pairs) // COLUMNS)
    figure = new_figure(WIDTH, HEIGHT * lines)
    grid = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for axes, pair in zip(grid, pairs, strict=False):
        _panel(axes, pair, name_of)
    for axes in grid[len(pairs) :]:
        axes.set_visible(False)
    return figure


def _panel(axes: "Axes", pair: Compared, name_of: Callable[[str], str]) -> None:
    labels: list[tuple[str, float, float]] = []
    points = zip(pair.whole.names, pair.whole.other, pair.whole.one, strict=True)
    for name, theirs, ours in points:
        x, y = float(theirs), float(ours)
        inside = "white" if name in CALIBRATION else REFERENCE
        axes.scatter(x, y, s=22, color=inside, edgecolors=REFERENCE, linewidths=1)
        labels.append((name_of(name), x, y))
    axes.set_xlabel(f"{pair.other.name}: average, %", fontsize=8)
    axes.set_ylabel(f"{pair.one.name}: average, %", fontsize=8)
    axes.set_title(f"tau {pair.whole.tau:.2f}, r {pair.whole.r:.2f}", fontsize=8)
    bare(axes)
    label_points(axes, labels, size=6)
