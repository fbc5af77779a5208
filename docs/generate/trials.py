"""The trials by which the embedded suite was calibrated, beside what is published."""

import csv

from docs.generate.catalogue import RESULTS
from tadrop.results.published import read
from tadrop.results.validity.page import TUNED
from tadrop.results.validity.suites import published_suites

FILE = RESULTS / "calibration.csv"
BESIDE = "ViT-B/32, Ilharco et al., 8 tasks"
LEVELS = ("pretrained", "individual")


def trials() -> str:
    """A table: a line for each trial, and one for the published averages."""
    with FILE.open(encoding="utf-8", newline="") as text:
        reader = csv.DictReader(text)
        names = list(reader.fieldnames or ())
        lines = [_line(names), _line(["--:"] * len(names))]
        for row in reader:
            lines.append(_line([row[name] for name in names]))
    lines.append(_line([_published(name) for name in names]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _published(column: str) -> str:
    """What is published in one column; nothing for a setting of ours."""
    if column == "trial":
        return f"*{BESIDE}*"
    suites = published_suites(read(RESULTS / "published"))
    suite = next(one for one in suites if one.name == BESIDE)
    if column in LEVELS:
        return f"{suite.levels[column]:.1f}"
    share = suite.share(column) if column in TUNED else None
    return "" if share is None else f"{100 * share:.0f}"
