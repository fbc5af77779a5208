"""A page for every row of conf/merge, from its YAML and the docstring of its formula."""

import re
from collections.abc import Sequence

from docs.generate.catalogue import (
    RESULTS,
    ROOT,
    Shown,
    arxiv,
    averages,
    docstring,
    merging_rows,
    models,
    printed,
    shown_rows,
)

ORDERED = re.compile(r"^(- |\d+\. )")
PAGE = """\
# {title}

{about}

| | |
|:--|:--|
{facts}

```
tadrop run merge={name}                 # on the embedded model
tadrop run merge={name} tadrop=on       # after Tensor-wise Adaptive Drop
```

## Formula

{formula}

## Defaults

The whole file, `conf/merge/{name}.yaml`. Any of its settings is changed by a word such as
`merge.scale=0.5`.

```yaml
{yaml}
```
{sparsifier}{measured}"""

INDEX = """\
---
hide: [toc]
---

# Methods

Every row of a table: {count} that merge, and the two that they are measured against.
Each page has the formula, the paper, every departure from the authors' code that is
known, the defaults, what is stored and what data are seen.

*Stores*: what has to be kept beside the base for {tasks} tasks together, where one
fine-tuned model is 1 and keeping all of them is {tasks}; measured on
[a leaderboard](../results/leaderboard_glyph8.md). *Average*: on that leaderboard, at the
published scale, without TADrop. A dash: it does not stand there.

| method | `merge=` | paper | stores | data seen | average |
|:--|:--|:--|:--|:--|--:|
{lines}
"""

MEASURED = """
## Measured

Averages over tasks, in percent. A dagger: made with former formulas or defaults.

| table | plain | + TADrop | + uniform control |
|:--|--:|--:|--:|
{lines}
"""


def pages() -> dict[str, str]:
    """Every page of methods/ by the name of its file."""
    texts = {"methods/index.md": index()}
    for shown in shown_rows():
        texts[f"methods/{shown.row.name}.md"] = page(shown)
    return texts


def navigation() -> list[dict[str, str]]:
    """The pages by title, as mkdocs.yml would list them."""
    entries: list[dict[str, str]] = [{"All methods": "methods/index.md"}]
    for shown in merging_rows():
        entries.append({shown.row.title: f"methods/{shown.row.name}.md"})
    for shown in shown_rows():
        if shown not in merging_rows():
            entries.append({shown.row.title: f"methods/{shown.row.name}.md"})
    return entries


def index() -> str:
    """The table of all methods."""
    measured = averages("leaderboard_glyph8")
    lines: list[str] = []
    for shown in merging_rows():
        row = shown.row
        cells = (
            f"[{row.title}]({row.name}.md)",
            f"`{row.name}`",
            arxiv(row.paper) or "–",
            models(shown.stored) or "–",
            row.data,
            measured.get(row.title, "–"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return INDEX.format(count=len(lines), tasks=8, lines="\n".join(lines))


def page(shown: Shown) -> str:
    """The page of one row."""
    row = shown.row
    path = ROOT / "conf" / "merge" / f"{row.name}.yaml"
    text = path.read_text(encoding="utf-8").strip()
    return PAGE.format(
        title=row.title,
        name=row.name,
        about=_about(text),
        facts="\n".join(_facts(shown)),
        formula="\n\n".join(map(formula, shown.formulas)),
        yaml=text,
        sparsifier=_sparsifier(shown),
        measured=_measured(row.title),
    )


def _about(yaml: str) -> str:
    """The comment that a file begins with."""
    words: list[str] = []
    for line in yaml.splitlines():
        if not line.startswith("#"):
            break
        words.append(line.removeprefix("#").strip())
    return "\n".join(words)


def _facts(shown: Shown) -> list[str]:
    """What a row is, in two columns."""
    row = shown.row
    facts = {
        "paper": arxiv(row.paper) or "none",
        "data seen": row.data,
        "stores": models(shown.stored) + " beside the base, for eight tasks",
        "a run takes": f"{row.cost}, on the embedded suite and two cores",
        "formula": ", ".join(f"`baselines/{name}.py`" for name in shown.formulas),
        "merges": f"{row.models} models" if row.models else "any number of models",
        "boards": ", ".join(row.boards) or "none",
    }
    if shown.stored is None:
        del facts["stores"]
    return [f"| {name} | {value} |" for name, value in facts.items()]


def formula(module: str) -> str:
    """A formula file's docstring as Markdown, its departures under a heading."""
    paragraphs = docstring(module).split("\n\n")
    body: list[str] = []
    departures: list[str] = []
    for paragraph in paragraphs:
        is_departure = paragraph.startswith("Departure") and bool(body)
        (departures if is_departure else body).append(spaced(paragraph))
    if departures:
        body += ["### Departures from the authors' code", *departures]
    return "\n\n".join(body)


def spaced(paragraph: str) -> str:
    """A paragraph in which a list is told from the line that it follows."""
    lines: list[str] = []
    for line in paragraph.split("\n"):
        is_item = bool(ORDERED.match(line))
        if is_item and lines and not ORDERED.match(lines[-1]) and lines[-1][:1] != " ":
            lines.append("")
        lines.append(_item(line))
    return "\n".join(lines)


def _item(line: str) -> str:
    """A line with what a list item goes on with moved in, as Markdown wants it."""
    if re.match(r"^ {2,3}\S", line):
        return f"    {line.strip()}"
    return line


def _sparsifier(shown: Shown) -> str:
    """The rule that the row brings along, as its file says it."""
    name = shown.sparsifier
    if name is None:
        return ""
    path = ROOT / "conf" / "sparsify" / f"{name}.yaml"
    text = path.read_text(encoding="utf-8").strip()
    return (
        "\n## Its own sparsifier\n\n"
        f"`conf/sparsify/{name}.yaml`. `tadrop=on` stands in for it; "
        "`before=[tadrop,sparsify]` applies both.\n\n"
        f"```yaml\n{text}\n```\n"
    )


def _measured(title: str) -> str:
    """What the committed tables of every method have of a row and its variants."""
    lines: list[str] = []
    for path in sorted(RESULTS.glob("table_*.csv"), key=_natural):
        variants = _variants(printed(path.stem), title)
        cells = [variants.get(name, "") for name in ("", "+ TADrop", "+ uniform")]
        if variants:
            link = f"[{path.stem}](../results/{path.stem}.md)"
            lines.append(f"| {' | '.join([link, *cells])} |")
    return MEASURED.format(lines="\n".join(lines)) if lines else ""


def _natural(path: object) -> list[int | str]:
    """Sorts numbers in names by their value."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if part.isdigit() else part for part in parts]


def _variants(lines: Sequence[dict[str, str]], title: str) -> dict[str, str]:
    """The averages of a method's rows in a table, by what stands before the merge."""
    found: dict[str, str] = {}
    method = ""
    for line in lines:
        name = line["method"]
        variant = name if name.startswith("+") else ""
        method = method if variant else name
        if method == title:
            found.setdefault(variant, line["avg"])
    return found
