"""Accuracy on the tasks seen, after each arrival: a panel a method."""

from typing import TYPE_CHECKING

from tadrop.results.figures.methods import methods_of
from tadrop.results.figures.style import STYLES, draw_line, legend, panels_of
from tadrop.results.row import Row
from tadrop.results.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def accuracy_after_arrivals(table: Table) -> "Figure | None":
    """The average over the tasks seen against how many there are, mean over orders.

    None where no row's tasks arrive one by one.
    """
    methods: dict[str, dict[str, Row]] = {}
    for name, rows in methods_of(table).items():
        for variant, row in rows.items():
            if row.arrivals and variant in STYLES:
                methods.setdefault(name, {})[variant] = row
    if not methods:
        return None
    figure, panels = panels_of(len(methods))
    for axes, (name, rows) in zip(panels, methods.items(), strict=True):
        for variant, row in rows.items():
            counts = range(1, len(row.arrivals) + 1)
            draw_line(axes, variant, counts, row.arrivals)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("tasks that have come")
    panels[0].set_ylabel("average over them, %")
    said = "accuracy on the tasks seen, after each arrival"
    figure.suptitle(f"{table.title}: {said}", fontsize=9)
    legend(figure, panels)
    return figure
