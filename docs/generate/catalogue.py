"""The merge rows as pages show them, from their YAML, their formulas and the tables."""

import ast
import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tadrop.app.boards.catalogue import MERGE, MergeRow, declared, merge_rows
from tadrop.results.store.former import MARK

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
# Where the bytes that a row stores are measured: every row stands on one of these two.
MEASURED = ("leaderboard_glyph8", "leaderboard_glyph2")
FIRST = ("search", "refine", "statistics")  # nodes that say what a row is named after
REFERENCES = ("Individual", "Pretrained")


@dataclass(frozen=True)
class Shown:
    """A row with what pages say of it beside its YAML.

    row:    as its file declares it
    node:   the whole file, with what it builds on
    stored: models' worth of bytes kept for all tasks beside the base; None if unmeasured
    """

    row: MergeRow
    node: Mapping[str, Any]
    stored: float | None

    @property
    def formulas(self) -> list[str]:
        """The formula files that the row uses; what a search or refinement needs first."""
        modules: dict[str, None] = {}
        for part in (*FIRST, *self.node):
            modules |= dict.fromkeys(_targets(self.node.get(part)))
        return list(modules)

    @property
    def sparsifier(self) -> str | None:
        """The name of the row's own sparsifier, where it has one."""
        for entry in self.node.get("defaults", ()):
            if isinstance(entry, dict):
                for key, name in entry.items():
                    if "sparsify" in key:
                        return name
        return None


def _targets(node: Any) -> Iterator[str]:
    """The modules of baselines/ that a node of a YAML names, in its order."""
    if isinstance(node, list):
        for child in node:
            yield from _targets(child)
    if not isinstance(node, dict):
        return
    package, _, rest = str(node.get("_target_", "")).partition(".")
    if package == "baselines":
        yield rest.partition(".")[0]
    for child in node.values():
        yield from _targets(child)


@cache
def shown_rows() -> tuple[Shown, ...]:
    """Every row, by name."""
    stored = _stored()
    rows: list[Shown] = []
    for row in merge_rows().values():
        node = declared(MERGE / f"{row.name}.yaml")
        rows.append(Shown(row, node, stored.get(row.title)))
    return tuple(rows)


def merging_rows() -> list[Shown]:
    """The rows that merge: without the models before merging."""
    rows = filter(lambda shown: shown.row.title not in REFERENCES, shown_rows())
    return sorted(rows, key=lambda shown: shown.row.title.lower())


def table(name: str) -> list[dict[str, str]]:
    """The lines of a table of results/, by the headings of its CSV file."""
    with (RESULTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def printed(name: str) -> list[dict[str, str]]:
    """The lines of a table of results/ as people read them, by heading.

    Pages show these texts: a number that is rounded twice may come out otherwise. The
    dagger of a row made with former formulas goes from its name to its numbers.
    """
    lines: list[dict[str, str]] = []
    headings: list[str] = []
    for text in (RESULTS / f"{name}.md").read_text(encoding="utf-8").splitlines():
        if not text.startswith("| "):
            continue
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if not headings:
            headings = cells
            continue
        cells[0] = cells[0].removeprefix("&nbsp;&nbsp;")
        if cells[0].endswith(MARK):
            numbers = [cell and cell + MARK for cell in cells[1:]]
            cells = [cells[0].removesuffix(MARK), *numbers]
        lines.append(dict(zip(headings, cells, strict=True)))
    return lines


def number(text: str) -> float:
    """A printed number, with or without a dagger."""
    return float(text.removesuffix(MARK))


def averages(name: str) -> dict[str, str]:
    """The averages of the rows without TADrop as a table prints them, by title."""
    found: dict[str, str] = {}
    for line in printed(name):
        if not line["method"].startswith("+"):
            found.setdefault(line["method"], line["avg"])
    return found


def plain_rows(name: str) -> list[dict[str, str]]:
    """The lines of a table without TADrop, controls and published numbers."""
    lines: list[dict[str, str]] = []
    for line in table(name):
        if not line["method"].startswith("+") and not line["source"]:
            lines.append(line)
    return lines


def _stored() -> dict[str, float]:
    """Bytes beside the base by title, in models: what one task's full vector takes."""
    stored: dict[str, float] = {}
    for name in MEASURED:
        lines = plain_rows(name)
        whole = next(line for line in lines if line["method"] == REFERENCES[0])
        tasks = float(re.sub(r"\D", "", name))
        for line in lines:
            models = float(line["bytes"]) / (float(whole["bytes"]) / tasks)
            stored.setdefault(line["method"], models)
    return stored


@cache
def docstring(module: str) -> str:
    """What a formula file says of itself."""
    path = ROOT / "baselines" / f"{module}.py"
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def models(stored: float | None) -> str:
    """Models' worth of bytes as people read them: 1 model, 1.25 models."""
    if stored is None:
        return ""
    # Rounding what is not changed away: a merged model is one model.
    rounded = f"{stored:.2f}".rstrip("0").rstrip(".")
    return f"{rounded} model" if rounded == "1" else f"{rounded} models"


def arxiv(paper: str | None) -> str:
    """A link to a paper."""
    if paper is None:
        return ""
    number = paper.removeprefix("arXiv ")
    return f"[{number}](https://arxiv.org/abs/{number})"
