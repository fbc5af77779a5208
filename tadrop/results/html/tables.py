"""A table as HTML: sortable, with every number of ours linked to its record.

Tags that HTML closes by itself are left open.
"""

from html import escape

from tadrop.results.columns import Cell, cells, headings
from tadrop.results.formats import label
from tadrop.results.row import Row
from tadrop.results.table import Table

SIGNS = {1: ' class="gain"', -1: ' class="loss"', 0: ""}


def html_table(table: Table) -> str:
    """The table with its title and caption."""
    heads = ""
    for name in ("method", *headings(table)):
        heads += f"<th scope='col'><button>{escape(name)}</button></th>"
    lines: list[str] = []
    method = ""
    for row in table.rows:
        method = method if row.below else label(row)
        lines.append(html_row(row, table, method))
    rows = "\n".join(lines)
    return (
        f'<h3>{escape(table.title)}</h3><div class="wide">'
        f"<table><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
        f'<p class="note">{escape(table.caption)}</p>'
    )


def html_row(row: Row, table: Table, method: str) -> str:
    """A line of the table.

    method: whose variant the row is, which shows where sorting has taken it away from
    the row of that method
    """
    name = escape(label(row))
    if row.below:
        name = f'<span class="of">{escape(method)} </span>{name}'
    if row.keys:
        name = f'<a href="#{row.keys[0]}">{name}</a>'
    indent = ' class="variant"' if row.below else ""
    title = f' title="{escape(row.source)}"' if row.source else ""
    numbers = "".join(html_cell(cell, row) for cell in cells(table, row))
    return (
        f'<tr{_classes(row)}{title}><th scope="row"{indent}>'
        f"{name}{_seeds(row)}</th>{numbers}"
    )


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
