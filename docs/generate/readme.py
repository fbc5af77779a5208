"""README's generated parts and the picture of the demo's table.

    python -m docs.generate.readme            writes them
    python -m docs.generate.readme --check    writes nothing; fails where they are stale

A part stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from itertools import groupby

import yaml

from docs.generate.catalogue import (
    ROOT,
    Shown,
    arxiv,
    averages,
    merging_rows,
    models,
    number,
)
from docs.generate.choice import choice
from docs.generate.picture import PICTURE, picture, written
from docs.generate.values import filled
from tadrop.storage.files import write_text

README = ROOT / "README.md"
PART = re.compile(r"(<!-- made: (\w+) -->\n)(.*?)(<!-- end -->)", re.S)
FOUND = """\
- **Merging**: methods that store something for each task score far higher, TSV-C
  {{leaderboard_glyph8; TSV-C; ; average}} and EMR {{leaderboard_glyph8; EMR; ; average}},
  than those that keep one model, WUDI (exact)
  {{leaderboard_glyph8; WUDI (exact); ; average}}, TSV-M
  {{leaderboard_glyph8; TSV-M; ; average}}, TIES {{leaderboard_glyph8; TIES; ; average}} and
  Task Arithmetic {{leaderboard_glyph8; Task Arithmetic; ; average}}; individual models
  have {{leaderboard_glyph8; Individual; ; average}}, the untouched base
  {{leaderboard_glyph8; Pretrained; ; average}}.
- **TADrop against the plain row**: EMR {{table_glyph8; EMR; + TADrop; difference}} points,
  TIES {{table_glyph8; TIES; + TADrop; difference}}, Task Arithmetic
  {{table_glyph8; Task Arithmetic; + TADrop; difference}}.
- **TADrop against its uniform control**, which says whether *adapting* pays:
  {{table_glyph8; versus}}
- **On photographs and sentences** (DINOv2, a small GPT-2) EMR gains
  {{table_offline8; EMR; + TADrop; difference}} and
  {{table_text7; EMR; + TADrop; difference}}; against the control
  {{table_offline8; EMR; + TADrop; versus}} and {{table_text7; EMR; + TADrop; versus}}.
- **Does the embedded suite rank methods as CLIP does?** [In classes, not among
  neighbours](results/validity.md): Kendall's tau with the published eight tasks of
  ViT-B/32 is {{tau: ViT-B/32, TALL-masks, 8 tasks}} (TALL-masks),
  {{tau: ViT-B/32, FusionBench, 8 tasks}} (FusionBench) and
  {{tau: ViT-B/32, Ilharco et al., 8 tasks}} (Ilharco's checkpoints), where published
  tables mostly agree with one another above 0.8. It was [calibrated](docs/calibration.md)
  on three rows; decide between neighbours on your own models.
"""


def found() -> str:
    """What was found, in five points."""
    points = filled(FOUND).split("\n- ")
    points = [" ".join(point.split()) for point in points]
    return "\n- ".join(points) + "\n"


def methods() -> str:
    """The methods that a committed table has, a line a paper.

    A row that has just been added has no number yet and is not among them.
    """
    shown = [one for one in merging_rows() if one.stored is not None]
    measured = averages("leaderboard_glyph8")
    lines = [
        "| method | paper | stores | sees | best average |",
        "|:--|:--|:--|:--|--:|",
    ]
    by_paper = sorted(shown, key=lambda one: one.row.paper or "")
    for paper, group in groupby(by_paper, key=lambda one: one.row.paper):
        rows = list(group)
        names = ", ".join(
            f"[{one.row.title}](conf/merge/{one.row.name}.yaml)" for one in rows
        )
        ours = [measured[one.row.title] for one in rows if one.row.title in measured]
        best = max(ours, key=number, default="–")
        sees = _once(one.row.data for one in rows)
        cells = (names, arxiv(paper) or "–", _stores(rows), sees, best)
        lines.append(f"| {' | '.join(cells)} |")
    return f"{len(shown)} rows:\n\n" + "\n".join(lines) + "\n"


def _stores(rows: list[Shown]) -> str:
    """What rows of one paper store: once where it is the same, else in their order."""
    amounts: list[str] = []
    for one in rows:
        # A share below one model is tensors that a method leaves as they were.
        amounts.append(models(max(one.stored or 0.0, 1.0)))
    return amounts[0] if len(set(amounts)) == 1 else ", ".join(amounts)


def _once(words: Iterable[str]) -> str:
    """Words in their order, each once."""
    return ", ".join(dict.fromkeys(words))


def choose() -> str:
    """Which method to use, by what may be stored and seen."""
    return choice("conf/merge/", ".yaml") + "\n"


def cite() -> str:
    """BibTeX of the suite and of TADrop's paper, from CITATION.cff."""
    facts = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    paper = facts["references"][0]
    number = paper["identifiers"][0]["value"].removeprefix("arXiv:")
    return f"""\
```bibtex
@software{{tadrop,
  title   = {{{facts["title"]}}},
  author  = {{{facts["authors"][0]["name"]}}},
  version = {{{project["project"]["version"]}}},
  license = {{{facts["license"]}}}
}}
@misc{{tadrop_paper,
  title         = {{{paper["title"]}}},
  eprint        = {{{number}}},
  archivePrefix = {{arXiv}}
}}
```
"""


PARTS: dict[str, Callable[[], str]] = {
    "found": found,
    "methods": methods,
    "choose": choose,
    "cite": cite,
}


def renewed(text: str) -> str:
    """A page with its parts as they are made now.

    Raises KeyError for a part that nothing makes.
    """
    return PART.sub(lambda part: part[1] + PARTS[part[2]]() + part[4], text)


def stale() -> list[str]:
    """What is not as it would be made."""
    text = README.read_text(encoding="utf-8")
    differing: list[str] = []
    if renewed(text) != text:
        differing.append(README.name)
    if picture() != written():
        differing.append(str(PICTURE.relative_to(ROOT)))
    return differing


def main() -> None:
    if "--check" in sys.argv[1:]:
        differing = stale()
        if differing:
            names = ", ".join(differing)
            sys.exit(f"error: {names}: stale; python -m docs.generate.readme")
        return
    write_text(README, renewed(README.read_text(encoding="utf-8")))
    write_text(PICTURE, picture())


if __name__ == "__main__":
    main()
