"""Names beside points, where they hide neither a point, nor a line, nor one another.

Greedy, with measured text: each label in turn takes the nearest free place around its
point; one that had to move away is tied to its point by a thin line.
"""

from collections.abc import Iterator, Sequence
from math import cos, pi, sin
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

DISTANCES = (5, 9, 16, 24, 34, 46)  # points between a point and its label
DIRECTIONS = (1 / 4, -1 / 4, 0, 3 / 4, -3 / 4, 1, 1 / 2, -1 / 2)  # of pi, best first
LEADER = 12  # a label further away than this gets a line to its point
RADIUS = 4  # of a marker, in points
LINE = {
    "arrowstyle": "-",
    "color": "#999999",
    "linewidth": 0.6,
    "shrinkA": 0,
    "shrinkB": 2,
}

Point = tuple[float, float]


def label_points(
    axes: "Axes", labels: Sequence[tuple[str, float, float]], size: int | float = 7
) -> "list[Annotation]":
    """Writes (text, x, y) beside the points (x, y) of a finished plot.

    The limits of the plot are kept from now on.
    """
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    # This settles the layout, so that boxes can be measured.
    _figure(axes).draw_without_rendering()
    taken = [*_markers(axes), *_level_lines(axes)]
    return [_placed(axes, text, (x, y), size, taken) for text, x, y in labels]


def _figure(axes: "Axes") -> "Figure":
    """The figure that a plot is in."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "a plot without a figure has no labels to place"
    return figure


def _markers(axes: "Axes") -> "Iterator[Bbox]":
    """The boxes of all scattered points, in pixels."""
    from matplotlib.transforms import Bbox

    pixels = RADIUS * _figure(axes).dpi / 72
    for drawn in axes.collections:
        for x, y in axes.transData.transform(drawn.get_offsets()):
            yield Bbox.from_extents(x - pixels, y - pixels, x + pixels, y + pixels)


def _level_lines(axes: "Axes") -> "Iterator[Bbox]":
    """The boxes of horizontal lines."""
    from matplotlib.transforms import Bbox

    for line in axes.lines:
        height = float(np.asarray(line.get_ydata())[0])
        level = axes.transData.transform((1, height))[1]
        yield Bbox.from_extents(axes.bbox.x0, level - 1, axes.bbox.x1, level + 1)


def _placed(
    axes: "Axes", text: str, point: Point, size: int | float, taken: "list[Bbox]"
) -> "Annotation":
    """The label at its first free place, or at the one that hides least.

    Its box joins those that are taken.
    """
    best, least = (0.0, 0.0), float("inf")
    for offset in _offsets():
        label = _annotated(axes, text, point, offset, size)
        box = label.get_window_extent()
        hidden = sum(_overlap(box, other) for other in taken) + _outside(box, axes.bbox)
        label.remove()
        if hidden < least:
            best, least = offset, hidden
        if not hidden:
            break
    label = _annotated(axes, text, point, best, size)
    taken.append(label.get_window_extent())
    return label


def _offsets() -> Iterator[Point]:
    """The places to try around a point, nearest first, in points."""
    for distance in DISTANCES:
        for turn in DIRECTIONS:
            yield distance * cos(turn * pi), distance * sin(turn * pi)


def _annotated(
    axes: "Axes", text: str, point: Point, offset: Point, size: int | float
) -> "Annotation":
    """The label at an offset from its point, with a line to it where that is far."""
    x, y = offset
    line: dict[str, Any] | None = LINE if (x * x + y * y) ** 0.5 > LEADER else None
    return axes.annotate(
        text,
        point,
        arrowprops=line,
        xytext=offset,
        textcoords="offset points",
        ha=("left", "center", "right")[_side(x)],
        va=("bottom", "center", "top")[_side(y)],
        fontsize=size,
    )


def _side(offset: float) -> int:
    """0 where an offset is positive, 1 where it is about zero, 2 where negative."""
    return (offset < 1e-6) + (offset < -1e-6)


def _overlap(one: "Bbox", other: "Bbox") -> float:
    """Pixels that two boxes share."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(width, 0.0) * max(height, 0.0)


def _outside(box: "Bbox", frame: "Bbox") -> float:
    """Pixels of a box that are not in the frame."""
    return box.width * box.height - _overlap(box, frame)
