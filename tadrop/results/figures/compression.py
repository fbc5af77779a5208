"""Accuracy against the bytes of a packed file: a line a method, over its densities."""

from typing import TYPE_CHECKING, NamedTuple

from tadrop.results.figures.boards import MARKERS, OKABE_ITO, bytes_axis
from tadrop.results.figures.style import (
    REFERENCE,
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
    from matplotlib.figure import Figure


class Line(NamedTuple):
    """The rows of one method and variant, by the bytes that they store."""

    title: str
    variant: str
    rows: list[Row]


def lines(table: Table) -> list[Line]:
    """The lines of a table's packed rows; a method of one row is a line of one point."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in table.rows:
        if row.density is not None and row.coded_bytes is not None:
            found.setdefault((row.title, row.variant), []).append(row)
    drawn: list[Line] = []
    for (title, variant), rows in found.items():
        rows.sort(key=lambda row: row.coded_bytes or 0)
        drawn.append(Line(title, variant, rows))
    return drawn


def accuracy_against_bytes(table: Table) -> "Figure | None":
    """Left against the file as it lies on the disk, right with its bits compressed.

    None where nothing was packed.
    """
    drawn = lines(table)
    if not drawn:
        return None
    figure = new_figure(WIDTH, 4.2)
    plain, coded = figure.subplots(1, 2, sharey=True)
    titles = list(dict.fromkeys(line.title for line in drawn))
    for line in drawn:
        number = titles.index(line.title)
        style = {
            "color": OKABE_ITO[number % len(OKABE_ITO)],
            # Colours come again after eight; markers then are others.
            "marker": MARKERS[(number + number // len(OKABE_ITO)) % len(MARKERS)],
            "linestyle": STYLES[line.variant].dash if not line.variant else "--",
            "markerfacecolor": "none" if line.variant else None,
            "markersize": 4,
            "linewidth": 1.1,
        }
        name = f"{line.title} + {line.variant}" if line.variant else line.title
        accuracies = [row.measured for row in line.rows]
        count = len(table.tasks)
        stored = [(row.stored_bytes or 0) / count for row in line.rows]
        packed = [(row.coded_bytes or 0) / count for row in line.rows]
        plain.plot(stored, accuracies, label=name, **style)
        coded.plot(packed, accuracies, **style)
    for axes, title in ((plain, "as it lies on the disk"), (coded, "bits compressed")):
        bytes_axis(axes)
        axes.tick_params(axis="x", which="both", labelsize=7)
        axes.set_xlabel("a task, beside the base")
        axes.set_title(title, fontsize=9)
        bare(axes)
    for row in table.rows:
        if row.is_reference:
            reference_level(coded, row.measured, label(row))
            plain.axhline(row.measured, color=REFERENCE, linestyle="--", linewidth=1)
    plain.set_ylabel("average accuracy, %")
    figure.suptitle(f"{table.title}: accuracy against stored bytes a task", fontsize=9)
    legend(figure, [plain], columns=3, size=7)
    return figure
