"""Tables as text: Markdown, CSV and LaTeX, and the labels of rows in any format.

Rendering is the last step: it reads the values of rows and nothing is read back.
"""

from tadrop.results.columns import Value, all_cells, cells, headings
from tadrop.results.row import Row
from tadrop.results.store import former
from tadrop.results.table import Table, has_former

LATEX = {
    "±": r"$\pm$",
    former.MARK: r"$^\dagger$",
    "_": r"\_",
    "%": r"\%",
}  # how characters are written in LaTeX


def label(row: Row) -> str:
    """The name of a row, without the indentation of one that stands below another."""
    if row.source:
        return f"published: {row.title} [{row.mark}]"
    name = row.title
    if row.variant:
        name = f"+ {row.variant}" if row.below else f"{row.title} + {row.variant}"
    if row.standing:
        name += f", {row.standing}"
    if row.settings:
        name += f" ({settings(row)})"
    return name


def marked(row: Row) -> str:
    """The label of a row, with a dagger if it was made with former formulas."""
    return label(row) + former.MARK if row.former else label(row)


def indented(row: Row, indentation: str = "  ") -> str:
    """The label of a row, moved to the right where it stands below another."""
    return indentation + marked(row) if row.below else marked(row)


def settings(row: Row) -> str:
    """The settings that tell a row from those that read alike: norm=l1, q_lo=0.3."""
    pairs = []
    for path, value in row.settings.items():
        pairs.append(f"{path.split('.')[-1]}={value}")
    return ", ".join(pairs)


def texts(table: Table, row: Row) -> list[str]:
    """The texts of a row's cells, without its label."""
    return [cell.text for cell in cells(table, row)]


def markdown(table: Table) -> str:
    """GitHub-flavoured Markdown."""
    head = ["method", *headings(table)]
    rule = [":--"] + ["--:"] * (len(head) - 1)
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(rule)}|"]
    for row in table.rows:
        line = [indented(row, "&nbsp;&nbsp;"), *texts(table, row)]
        lines.append(f"| {' | '.join(line)} |")
    return f"**{table.title}**\n\n" + "\n".join(lines) + f"\n\n{table.caption}\n"


def csv(table: Table) -> str:
    """Every column in full precision, one line a row, with the records' keys.

    Where any of these were made with former formulas, a last column names them again.
    """
    lines: list[str] = []
    for row in table.rows:
        values: dict[str, Value] = {"method": label(row)}
        for cell in all_cells(table, row):
            values |= cell.values
        values |= {"records": " ".join(row.keys), "source": row.source}
        if has_former(table):
            values["former"] = values["records"] if row.former else ""
        if not lines:
            lines.append(",".join(values))
        lines.append(",".join(map(_field, values.values())))
    return "\n".join(lines) + "\n"


def _field(value: Value) -> str:
    """A value as a field of a CSV file."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}"
    text = str(value)
    quoted = '"' + text.replace('"', '""') + '"'
    return quoted if "," in text or '"' in text else text


def latex(table: Table) -> str:
    """A booktabs tabular."""
    head = ["method", *headings(table)]
    lines = [
        f"% {table.title}",
        r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}",
        r"\toprule",
        " & ".join(head).replace("_", r"\_") + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        line = " & ".join([indented(row, r"\quad "), *texts(table, row)])
        for character, command in LATEX.items():
            line = line.replace(character, command)
        lines.append(line + r" \\")
        if row.ends_section:
            lines.append(r"\midrule")
    if has_former(table):
        lines.insert(1, f"% {former.CAPTION}")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
