"""Pages of results: every committed table with its figures, and what they say."""

import re
from pathlib import Path

from docs.generate.catalogue import RESULTS
from tadrop.app.boards.board import comment, said
from tadrop.app.boards.catalogue import BOARDS, board_names
from tadrop.results.columns import COLUMNS
from tadrop.results.figures.words import described

FOLDER = "results"
# Pages that are no tables, and what the site's navigation calls them.
TEXTS = {
    "claims": "The paper's claims, checked",
    "findings": "Findings, table by table",
    "validity": "Published tables beside ours",
}
OPEN = {
    "table_": "Every method",
    "leaderboard_": "Leaderboard",
    "tuned_": "Scales chosen on validation data",
}
PAGE = """\
---
hide: [toc]
---

# {title}

{about}

<div class="numbers" markdown>

{table}

</div>

[As CSV]({name}.csv), with every number in full and the keys of its records.

{figures}
"""
BENCHMARKS = RESULTS / "benchmarks"
KINDS = (  # how tables are listed: a heading and how the names of the files begin
    ("Leaderboards", "leaderboard_"),
    ("Scales chosen on validation data", "tuned_"),
    ("Every method", "table_"),
    ("The demo", "demo"),
    ("Ablations", "ablation_"),
    ("Sweeps", "sweep_"),
)


def pages() -> dict[str, str]:
    """Every page of results/ but its first, by the name of its file."""
    texts: dict[str, str] = {}
    for name in TEXTS:
        texts[f"{FOLDER}/{name}.md"] = text_page(name)
    for path in tables():
        texts[f"{FOLDER}/{path.name}"] = page(path)
    for path in sorted(BENCHMARKS.glob("*.md")):
        texts[f"{FOLDER}/benchmarks/{path.name}"] = path.read_text(encoding="utf-8")
    return texts


def tables() -> list[Path]:
    """The committed tables."""
    return [path for path in sorted(RESULTS.glob("*.md")) if path.stem not in TEXTS]


def pictures() -> dict[str, Path]:
    """The figures that pages show and the report, by their place in the site."""
    found = {f"{FOLDER}/report.html": RESULTS / "report.html"}
    for path in sorted(RESULTS.glob("*.svg")):
        found[f"{FOLDER}/{path.name}"] = path
    return found


def navigation() -> list[dict[str, str | list[dict[str, str]]]]:
    """The pages as mkdocs.yml would list them."""
    entries: list[dict[str, str | list[dict[str, str]]]] = []
    entries.append({"What they say": f"{FOLDER}/index.md"})
    for name, heading in TEXTS.items():
        entries.append({heading: f"{FOLDER}/{name}.md"})
    for heading, beginning in KINDS:
        listed: list[dict[str, str]] = []
        for path in sorted(tables(), key=_natural):
            if path.stem.startswith(beginning):
                name = title(path)
                _, _, suite = name.partition(": ")
                listed.append({suite or name: f"{FOLDER}/{path.name}"})
        entries.append({heading: listed})
    speed = [
        {path.stem: f"{FOLDER}/benchmarks/{path.name}"}
        for path in BENCHMARKS.glob("*.md")
    ]
    entries.append({"Speed and memory": sorted(speed, key=str)})
    return entries


def text_page(name: str) -> str:
    """A page of results/ that is no table, with a heading where it has none."""
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
    return text if text.startswith("# ") else f"# {TEXTS[name]}\n\n{text}"


def title(path: Path) -> str:
    """What a table is called: that of every method by what it is of."""
    first = re.match(r"\*\*(.+?)\*\*", path.read_text(encoding="utf-8"))
    for beginning, what in OPEN.items():
        if first and path.stem.startswith(beginning):
            return f"{what}: {first[1]}"
    return path.stem.removesuffix("_8").replace("_", " ").capitalize()


def page(path: Path) -> str:
    """A table with its figures."""
    figures: list[str] = []
    for picture in sorted(RESULTS.glob(f"{path.stem}_*.svg")):
        if _owner(picture) == path.stem:
            what = picture.stem.removeprefix(f"{path.stem}_")
            figures.append(f"![{described(title(path), what)}]({picture.name})")
    return PAGE.format(
        title=title(path),
        about=_about(path.stem),
        table=_averages_first(path.read_text(encoding="utf-8")),
        name=path.stem,
        figures="\n\n".join(figures),
    )


def _averages_first(text: str) -> str:
    """A table without its title, what sums up the tasks before the tasks."""
    body = re.sub(r"^\*\*(.+?)\*\*\n", "", text).strip()
    order: list[int] = []
    lines: list[str] = []
    for line in body.splitlines():
        if not line.startswith("|"):
            lines.append(line)
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not order:
            summary = [at for at, head in enumerate(cells) if head in COLUMNS]
            tasks = [at for at in range(1, len(cells)) if at not in summary]
            order = [0, *summary, *tasks]
        lines.append(f"| {' | '.join(cells[at] for at in order)} |")
    return "\n".join(lines)


def _owner(picture: Path) -> str:
    """The table of a figure: the longest name that the figure's begins with."""
    stems = [path.stem for path in tables() if picture.stem.startswith(f"{path.stem}_")]
    return max(stems, key=len, default="")


def _about(stem: str) -> str:
    """What the board of a table is, in the words of its file."""
    counts = re.findall(r"\d+", stem)
    for name in sorted(board_names(), key=len, reverse=True):
        file = said(name).get("file")
        known = said(name).get("tasks")
        fits = known is None or str(known) in counts
        if (stem.startswith(f"{file}_") and fits) or stem.startswith(name):
            return comment(BOARDS / f"{name}.yaml")
    return ""


def _natural(path: Path) -> list[int | str]:
    """Sorts numbers in names by their value."""
    parts = re.split(r"(\d+)", path.stem)
    return [int(part) if part.isdigit() else part for part in parts]
