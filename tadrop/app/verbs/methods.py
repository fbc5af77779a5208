"""Lists every row: its name, what it is and its paper, as its YAML says it.

tadrop methods
"""

import re
from pathlib import Path

from tadrop.app.places import CONF

MERGE = CONF / "merge"


def line(path: Path) -> str:
    """One row: file name, first comment line, paper."""
    text = path.read_text(encoding="utf-8")
    what = text.splitlines()[0].removeprefix("# ")
    paper = re.search(r"^paper: (.*)$", text, re.MULTILINE)
    source = f" [{paper[1]}]" if paper and paper[1] != "null" else ""
    return f"{path.stem:<20} {what}{source}"


def listing() -> str:
    """All rows, one a line, by name."""
    return "\n".join(line(path) for path in sorted(MERGE.glob("*.yaml")))


def main() -> None:
    from tadrop.app.console import out

    out.print(listing(), soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
