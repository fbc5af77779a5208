"""What TADrop does to each tensor, by layer and by depth;
how alike task vectors are.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tadrop.results.columns import readable
from tadrop.results.figures.style import WIDTH, bare, legend, new_figure, write_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from pandas import DataFrame

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
DASHES = ("-", "--", ":")
MARKERS = "osv^DPX*<>ph"
MOST_BANDS = 4  # more ranges than this hide one another
MOST_TICKS = 8  # numbers under a third of the width
# Names longer than this, taken together, leave two maps side by side no room.
MOST_LETTERS = 40
MOST_WRITTEN = 14  # cells in a line that still hold a number
LAYERS = ("blocks", "layers", "h")  # what models call the list of their layers
OUTSIDE = "other"  # the layer of a tensor that is in none


def layer_and_kind(tensor: str) -> tuple[str, str]:
    """(layer, kind) of a tensor name: blocks.3.qkv.weight -> (3, qkv.weight)."""
    words = tensor.split(".")
    numbers = [index for index, word in enumerate(words) if word.isdigit()]
    if not numbers:
        return OUTSIDE, tensor
    first = numbers[0]
    if words[0] in LAYERS or (first > 0 and len(words) - first > 2):
        return words[first], ".".join(words[first + 1 :])
    return OUTSIDE, tensor


def with_layers(tensors: "DataFrame") -> "DataFrame":
    """A record's rows of tensors, with the columns layer and kind."""
    pairs = list(map(layer_and_kind, tensors["tensor"]))
    layers, kinds = zip(*pairs, strict=True)
    return tensors.assign(layer=layers, kind=kinds)


def sparsity_map(tensors: "DataFrame", title: str = "") -> "Figure":
    """Mean sparsity over tasks for each kind of tensor (rows) and layer (columns).

    Tensors that are in no layer stand to the right, or below where names are long.
    tensors: the rows of a record, as tadrop/results/record.py reads them
    """
    frame = with_layers(tensors)
    outside = frame["layer"] == OUTSIDE
    inner = frame.loc[~outside].pivot_table("sparsity", "kind", "layer")
    inner = inner.reindex(columns=sorted(inner.columns, key=int))  # 2 before 10
    outer = frame.loc[outside].pivot_table("sparsity", "kind", "layer")
    figure, panels = _map_panels(inner, outer)
    top = max(float(grid.max(axis=None)) for grid in (inner, outer) if grid.size)
    _map(panels[0], inner, list(inner.columns), top)
    image = _map(panels[1], outer, ["not in a block"], top)
    panels[0].set_xlabel("block")
    figure.colorbar(image, ax=panels, label="sparsity (fraction dropped)")
    figure.suptitle(title, fontsize=9)
    return figure


def _map_panels(
    inner: "DataFrame", outer: "DataFrame"
) -> tuple["Figure", list["Axes"]]:
    """A figure with room for two maps, one above the other where names are long."""
    heights: list[int] = []
    letters = 0
    for grid in (inner, outer):
        heights.append(max(len(grid), 1))
        letters += max(map(len, grid.index), default=0)
    if letters > MOST_LETTERS:
        figure = new_figure(WIDTH, 0.24 * sum(heights) + 1.8)
        return figure, list(figure.subplots(2, 1, height_ratios=heights))
    figure = new_figure(WIDTH, 0.24 * max(heights) + 1.2)
    widths = [max(inner.shape[1], 1), 1.2]
    return figure, list(figure.subplots(1, 2, width_ratios=widths))


def _map(
    axes: "Axes", grid: "DataFrame", names: Sequence[str], top: float
) -> "AxesImage":
    """One map, its colours from zero to the top; names: of its columns."""
    image = axes.imshow(grid, cmap="cividis", vmin=0, vmax=top, aspect="auto")
    lines, columns = grid.shape
    axes.set_xticks(range(columns), names, fontsize=8)
    axes.set_yticks(range(lines), grid.index, fontsize=7)
    if columns <= MOST_WRITTEN:
        write_cells(axes, grid.to_numpy(), "{:.2f}", top / 2, 6)
    return image


def tensor_profile(tensors: "DataFrame", title: str = "") -> "Figure":
    """Ratio, sparsity and scale of each kind of tensor by depth, mean over tasks.

    Ranges are drawn where kinds are few. tensors: as in sparsity_map
    """
    frame = with_layers(tensors)
    frame = frame.loc[frame["layer"] != OUTSIDE]
    frame = frame.assign(layer=frame["layer"].astype(int))
    kinds = list(frame.groupby("kind"))
    blocks = sorted(frame["layer"].unique())
    figure = new_figure(WIDTH, 3.0 + 0.13 * len(kinds))
    panels = figure.subplots(1, 3)
    headings = {
        "ratio": "ratio R",
        "sparsity": "fraction dropped",
        "scale": "rescale factor",
    }
    step = -(-len(blocks) // MOST_TICKS)
    for axes, (column, heading) in zip(panels, headings.items(), strict=True):
        for index, (kind, part) in enumerate(kinds):
            _depth_line(axes, part, column, str(kind), index)
            if len(kinds) <= MOST_BANDS:
                _depth_band(axes, part, column, index)
        axes.set_title(heading, fontsize=9)
        axes.set_xticks(blocks[::step])
        axes.set_xlabel("block")
        bare(axes)
    legend(figure, panels)
    figure.suptitle(title, fontsize=9)
    return figure


def _depth_line(
    axes: "Axes", part: "DataFrame", column: str, kind: str, index: int
) -> None:
    """The means of one kind of tensor by layer, in a style of its own."""
    middle = part.pivot_table(column, "layer", aggfunc="mean")
    axes.plot(
        middle.index.to_numpy(),
        middle[column].to_numpy(),
        color=COLOURS[index % len(COLOURS)],
        marker=MARKERS[index % len(MARKERS)],
        linestyle=DASHES[index // len(COLOURS) % len(DASHES)],
        ms=3.5,
        lw=1,
        label=kind,
    )


def _depth_band(axes: "Axes", part: "DataFrame", column: str, index: int) -> None:
    """The range of one kind of tensor by layer."""
    low = part.pivot_table(column, "layer", aggfunc="min")
    high = part.pivot_table(column, "layer", aggfunc="max")
    axes.fill_between(
        low.index.to_numpy(),
        low[column].to_numpy(),
        high[column].to_numpy(),
        color=COLOURS[index % len(COLOURS)],
        alpha=0.1,
        linewidth=0,
    )


def similarity(cosines: "DataFrame", title: str = "") -> "Figure":
    """Cosine similarity of every pair of task vectors."""
    count = len(cosines)
    side = 0.2 * count + 2.2
    figure = new_figure(min(side + 0.8, WIDTH), min(side, 6.2))
    axes = figure.subplots()
    own = np.eye(count, dtype=bool)  # of a task vector with itself
    others = cosines.to_numpy()[~own].tolist()
    shown = cosines.mask(own)
    image = axes.imshow(shown, cmap="cividis", vmin=min(0.0, *others), vmax=max(others))
    names = list(map(readable, cosines.index))
    axes.set_xticks(range(count), names, rotation=90, fontsize=7)
    axes.set_yticks(range(count), names, fontsize=7)
    figure.colorbar(image, label="cosine")
    axes.set_title(title, fontsize=9)
    return figure
