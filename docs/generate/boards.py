"""Pages of results: every committed table with its figures, and what they say."""

import re
from pathlib import Path

from docs.generate.catalogue import RESULTS
from tadrop.app.boards.board import comment
from tadrop.app.boards.catalogue import BOARDS
from tadrop.results.figures.words import described

FOLDER = "results"
BENCHMARKS = RESULTS / "benchmarks"
KINDS = (  # how tables are listed: a heading and how the names of the files begin
    ("Leaderboards", "leaderboard_"),
    ("Every method", "table_"),
    ("The demo", "demo"),
    ("Ablations", "ablation_"),
    ("Sweeps", "sweep_"),
)


def pages() -> dict[str, str]:
    """Every page of results/ but its first, by the name of its file."""
    texts = {f"{FOLDER}/findings.md": findings()}
    for path in tables():
        texts[f"{FOLDER}/{path.name}"] = page(path)
    for path in sorted(BENCHMARKS.glob("*.md")):
        texts[f"{FOLDER}/benchmarks/{path.name}"] = path.read_text(encoding="utf-8")
    return texts


def tables() -> list[Path]:
    """The committed tables."""
    return [path for path in sorted(RESULTS.glob("*.md")) if path.stem != "findings"]


def pictures() -> dict[str, Path]:
    """The figures that pages show, by their place in the site."""
    found: dict[str, Path] = {}
    for path in sorted(RESULTS.glob("*.svg")):
        found[f"{FOLDER}/{path.name}"] = path
    return found


def navigation() -> list[dict[str, str | list[dict[str, str]]]]:
    """The pages as mkdocs.yml would list them."""
    entries: list[dict[str, str | list[dict[str, str]]]] = []
    entries.append({"What they say": f"{FOLDER}/index.md"})
    entries.append({"Findings, table by table": f"{FOLDER}/findings.md"})
    for heading, beginning in KINDS:
        listed: list[dict[str, str]] = []
        for path in sorted(tables(), key=_natural):
            if path.stem.startswith(beginning):
                listed.append({title(path): f"{FOLDER}/{path.name}"})
        entries.append({heading: listed})
    speed = [
        {path.stem: f"{FOLDER}/benchmarks/{path.name}"}
        for path in BENCHMARKS.glob("*.md")
    ]
    entries.append({"Speed and memory": sorted(speed, key=str)})
    return entries


def findings() -> str:
    """What every table says, from results/findings.md."""
    text = (RESULTS / "findings.md").read_text(encoding="utf-8")
    return f"# Findings, table by table\n\n{text}"


def title(path: Path) -> str:
    """The title that a table has of itself, told from those of other boards."""
    text = path.read_text(encoding="utf-8")
    first = re.match(r"\*\*(.+?)\*\*", text)
    name = path.stem.removesuffix("_8").replace("_", " ")
    plain = first[1] if first else name
    return (
        plain if path.stem.startswith(("table_", "leaderboard_")) else name.capitalize()
    )


def page(path: Path) -> str:
    """A table with its figures."""
    text = path.read_text(encoding="utf-8")
    body = re.sub(r"^\*\*(.+?)\*\*\n", "", text)
    figures: list[str] = []
    for picture in sorted(RESULTS.glob(f"{path.stem}_*.svg")):
        if _owner(picture) == path.stem:
            what = picture.stem.removeprefix(f"{path.stem}_")
            figures.append(f"![{described(title(path), what)}]({picture.name})")
    return (
        f"# {title(path)}\n\n{_about(path.stem)}\n\n{body}\n"
        f"[As CSV]({path.stem}.csv), with every number in full and the keys of its "
        f"records.\n\n" + "\n\n".join(figures) + "\n"
    )


def _owner(picture: Path) -> str:
    """The table of a figure: the longest name that the figure's begins with."""
    stems = [path.stem for path in tables() if picture.stem.startswith(f"{path.stem}_")]
    return max(stems, key=len, default="")


def _about(stem: str) -> str:
    """What the board of a table is, in the words of its file."""
    for path in sorted(BOARDS.glob("*.yaml"), key=lambda path: -len(path.stem)):
        if stem.startswith(path.stem):
            return comment(path)
    return ""


def _natural(path: Path) -> list[int | str]:
    """Sorts numbers in names by their value."""
    parts = re.split(r"(\d+)", path.stem)
    return [int(part) if part.isdigit() else part for part in parts]
