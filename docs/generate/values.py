"""Numbers in hand-written pages: `{{TABLE; METHOD; VARIANT; COLUMN}}` is read from results.

VARIANT is empty for the plain row. COLUMN is average, difference (to the plain row) or
versus (to the uniform control). `{{TABLE; versus}}` counts methods, `{{choice}}` is the
table of methods to choose from, `{{trials}}` that of the calibration's trials, and
`{{tau: TABLE}}` says how alike ours and a published table rank methods. What names
nothing stops the build.
"""

import csv
import re

from docs.generate.catalogue import RESULTS, ROOT, printed
from docs.generate.choice import choice
from tadrop.results.published import read
from tadrop.results.validity.page import TUNED
from tadrop.results.validity.suites import Suite, published_suites

PLACE = re.compile(r"\{\{([^{}]+)\}\}")
TAU = "tau: "
AGAINST = "Against its uniform control at equal density TADrop "
TRIALS = ROOT / "experiments" / "glyphs" / "trials.csv"
BESIDE = "ViT-B/32, Ilharco et al., 8 tasks"
LEVELS = ("pretrained", "individual")
COLUMNS = {"average": "avg", "difference": "diff", "versus": "vs uniform"}


def filled(markdown: str, folder: str = "") -> str:
    """A page with its numbers. folder: how the page reaches the site's top."""
    if "{{choice}}" in markdown:
        markdown = markdown.replace("{{choice}}", choice(f"{folder}methods/"))
    if "{{trials}}" in markdown:
        markdown = markdown.replace("{{trials}}", trials())
    return PLACE.sub(_value, markdown)


def _value(match: re.Match[str]) -> str:
    """What one place names. Raises ValueError where a table does not have it."""
    if match[1].startswith(TAU):
        return tau(match[1].removeprefix(TAU))
    name, *words = (word.strip() for word in match[1].split(";"))
    if len(words) == 1:
        return sentence(name)
    method, variant, column = words
    line = _line(name, method, variant)
    text = line[COLUMNS[column]]
    if not text:
        raise ValueError(f"{match[0]}: the table says nothing there")
    return text


def _line(name: str, method: str, variant: str) -> dict[str, str]:
    above = ""
    for line in printed(name):
        label = line["method"]
        is_variant = label.startswith("+")
        above = above if is_variant else label
        if above == method and label == (variant or method):
            return line
    raise ValueError(f"results/{name}.md has no row {method} {variant}")


def tau(table: str) -> str:
    """Kendall's tau between ours and a published table, from results/validity.md."""
    text = (RESULTS / "validity.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == table:
            return cells[2].partition(" ")[0]
    raise ValueError(f"results/validity.md does not compare ours with {table}")


def sentence(name: str) -> str:
    """What results/findings.md says of TADrop against its control in a table."""
    text = (RESULTS / "findings.md").read_text(encoding="utf-8")
    _, _, below = text.partition(f"({name})\n")
    for line in below.splitlines():
        said = line.strip().removeprefix("- ")
        if said.startswith(AGAINST):
            return f"it {said.removeprefix(AGAINST)}"
    raise ValueError(f"results/findings.md says nothing of {name} against the control")


def trials() -> str:
    """A table: a line for each trial, and one for the published averages."""
    with TRIALS.open(encoding="utf-8", newline="") as text:
        reader = csv.DictReader(text)
        names = list(reader.fieldnames or ())
        lines = [_cells(names), _cells(["--:"] * len(names))]
        for row in reader:
            lines.append(_cells([row[name] for name in names]))
    suites = published_suites(read(RESULTS / "published"))
    beside = next(one for one in suites if one.name == BESIDE)
    lines.append(_cells([_published(beside, name) for name in names]))
    return "\n".join(lines)


def _cells(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _published(suite: Suite, column: str) -> str:
    """What is published in one column; nothing for a setting of ours."""
    if column == "trial":
        return f"*{suite.name}*"
    if column in LEVELS:
        return f"{suite.levels[column]:.1f}"
    share = suite.share(column) if column in TUNED else None
    return "" if share is None else f"{100 * share:.0f}"
