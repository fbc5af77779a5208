"""A table as HTML: sortable, with every number of ours linked to its record.

Tags that HTML closes by itself are left open.
"""

from collections.abc import Sequence
from html import escape
from typing import TypeVar

from tadrop.results.columns import COLUMNS, Cell, cells, headings
from tadrop.results.formats import label, marked
from tadrop.results.row import Row
from tadrop.results.table import Table

Value = TypeVar("Value")
SIGNS = {1: ' class="gain"', -1: ' class="loss"', 0: ""}


def html_table(table: Table, name: str = "table") -> str:
    """The table with its title and caption. name: of the file that it is saved to.

    What sums up the tasks stands before them, in sight on a phone. The page's script
    adds what searches, filters, compares and saves.
    """
    heads = "<th scope='col'><button>method</button></th>"
    for heading in averages_first(table, headings(table)):
        kind = "" if heading in COLUMNS else " class='task'"
        heads += f"<th scope='col'{kind}><button>{escape(heading)}</button></th>"
    lines: list[str] = []
    method = ""
    for row in table.rows:
        method = method if row.below else label(row)
        lines.append(html_row(row, table, method))
    rows = "\n".join(lines)
    return (
        f'<h3>{escape(table.title)}</h3><div class="wide">'
        f"<table data-name='{escape(name)}'><thead><tr>{heads}</tr></thead>\n"
        f"<tbody>{rows}</tbody></table></div>"
        f'<p class="note">{escape(table.caption)}</p>'
    )


def averages_first(table: Table, columns: Sequence[Value]) -> list[Value]:
    """What stands in a table's columns, tasks last."""
    count = len(table.columns)
    return [*columns[count:], *columns[:count]]


def html_row(row: Row, table: Table, method: str) -> str:
    """A line of the table.

    method: whose variant the row is, which shows where sorting has taken it away from
    the row of that method
    """
    name = escape(marked(row))
    if row.below:
        name = f'<span class="of">{escape(method)} </span>{name}'
    if row.keys:
        name = f'<a href="#{row.keys[0]}">{name}</a>'
    indent = ' class="variant"' if row.below else ""
    title = f' title="{escape(row.source)}"' if row.source else ""
    ordered = averages_first(table, cells(table, row))
    numbers = "".join(html_cell(cell, row) for cell in ordered)
    return (
        f'<tr{_classes(row)}{title} data-variant="{variant(row)}"><th scope="row"{indent}>'
        f"{name}{_seeds(row)}</th>{numbers}"
    )


def variant(row: Row) -> str:
    """The word by which the page filters rows."""
    if row.source:
        return "published"
    if row.is_reference:
        return "reference"
    return row.variant or "plain"


def _classes(row: Row) -> str:
    """What the style sheet must know of a row."""
    words: list[str] = []
    if row.source:
        words.append("published")
    if row.is_reference:
        words.append("reference")
    if row.ends_section:
        words.append("ends")
    return f' class="{" ".join(words)}"' if words else ""


def _seeds(row: Row) -> str:
    """A link to the record of each seed, where there are several."""
    links = ""
    if len(row.keys) > 1:
        for seed, key in enumerate(row.keys):
            links += f' <a class="seed" href="#{key}" title="seed {seed}">{seed}</a>'
    return links


def html_cell(cell: Cell, row: Row) -> str:
    """A number, linked to its record.

    A difference is coloured where its interval leaves out zero; elsewhere nothing is
    claimed. The page's script sorts by the number that a cell's text begins with, and
    by data-n where the text has a unit.
    """
    rank = "" if cell.rank is None else f' data-n="{cell.rank:g}"'
    text = escape(cell.text)
    if text and row.keys:
        text = f"<a href=#{row.keys[0]}>{text}</a>"
    return f"<td{rank}{SIGNS[cell.sign]}>{text}"
