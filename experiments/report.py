"""One static HTML page of every table and figure that the records can fill.

    python -m experiments.report [--records DIR] [--out results/report.html] [RECIPE ...]

Self-contained: styles, script and figures are in the file, nothing is fetched. Tables sort by a click on a heading.
Every number of ours links to its record, which shows what produced it and the command that produces it again; published
numbers show their source. Recipes without any record are left out; those with some say how many are missing.
"""

import argparse
import base64
import io
import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import recipes, tables
from tadrop import published, record
from tadrop.console import out
from tadrop.files import write_text
from tadrop.record import Record
from tadrop.table import Row, Table
from tadrop.types import TadropError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """A recipe's part of the page. missing: runs of it that have no record."""

    recipe: str
    about: str
    tables: tuple[Table, ...]
    figures: tuple[tuple[str, "Figure"], ...]
    missing: int


def command(recipe: str, cfg_words: Sequence[str], reference: str | None = None) -> str:
    """The command of one run alone: the recipe's choices spelled out, without its sweep."""
    chosen = recipes.choices(recipe)
    words = [f"{group}={chosen[group]}" for group in ("model", "tasks") if group in chosen]
    words += [word for word in cfg_words if not word.startswith("+experiment=")]
    if reference is not None:
        words = [
            word for word in words if word.split("=")[0].split(".")[0] not in ("merge", "tadrop", "seed", "select")
        ]
        words += [f"merge={reference}", "tadrop=off"]
    return "python run.py " + shlex.join(words)


def gather(recipe: str, folder: Path, facts: Path) -> tuple[Section, dict[str, str], list[Record]] | None:
    """A recipe's section, the command of each of its records, and the records; None where there is none."""
    commands: dict[str, str] = {}
    missing = set()
    for config, words in recipes.runs(recipe):
        key = record.key(config)
        if key in commands:
            continue
        if not record.path(folder, config).exists():
            missing.add(key)
            continue
        name = config["merge"]["name"]
        commands[key] = command(recipe, words, name if name in config["references"] else None)
    if not commands:
        return None
    found = [record.read(folder / f"{key}.json") for key in commands]
    shown, drawn = tables.contents(recipe, found, folder, facts)
    pictures = tuple((what, figure) for _, what, figure in drawn)
    return Section(recipe, recipes.about(recipe), tuple(shown.values()), pictures, len(missing)), commands, found


def picture(figure: "Figure", name: str) -> str:
    """A figure inside the page, as an image so that the ids of two figures cannot meet."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue().encode()).decode()
    return f'<figure><img alt="{escape(name)}" src="data:image/svg+xml;base64,{data}"></figure>'


def _number(cell: str) -> str:
    """What a cell sorts by."""
    head = cell.replace("+", "").split(" ")[0].split("/")[0]
    try:
        return str(float(head))
    except ValueError:
        return ""


def _cell(heading: str, cell: str, row: Row) -> str:
    sort = f' data-n="{_number(cell)}"' if _number(cell) else ""
    interval = {"diff": row.interval, "vs uniform": row.versus_interval}.get(heading)
    attributes = sort + _significance(interval)
    if not cell or not row.keys:
        return f"<td{attributes}>{escape(cell)}</td>"
    return f'<td{attributes}><a href="#{row.keys[0]}">{escape(cell)}</a></td>'


def _significance(interval: tuple[float, float] | None) -> str:
    """A class, gain or loss, where the interval of a difference leaves out zero; else nothing is claimed."""
    if interval is None or interval[0] <= 0 <= interval[1]:
        return ""
    return f' class="{"gain" if interval[0] > 0 else "loss"}"'


def _row(row: Row, table: Table) -> str:
    kind = "published" if row.source else "reference" if row.is_reference else ""
    classes = " ".join(word for word in (kind, "ends" if row.ends_section else "") if word)
    title = f' title="{escape(row.source)}"' if row.source else ""
    label = escape(row.label.strip()) if not row.keys else f'<a href="#{row.keys[0]}">{escape(row.label.strip())}</a>'
    indent = ' class="variant"' if row.label.startswith("  ") else ""
    seeds = "".join(f' <a class="seed" href="#{key}">{i}</a>' for i, key in enumerate(row.keys) if len(row.keys) > 1)
    cells = "".join(_cell(*pair, row) for pair in zip(table.headings, table.cells(row), strict=True))
    return f'<tr class="{classes}"{title}><th scope="row"{indent}>{label}{seeds}</th>{cells}</tr>'


def html_table(table: Table) -> str:
    """A sortable table whose numbers link to their records."""
    heads = "".join(f"<th scope='col'><button>{escape(name)}</button></th>" for name in ("method", *table.headings))
    rows = "\n".join(_row(row, table) for row in table.rows)
    return (
        f'<h3>{escape(table.title)}</h3><div class="wide"><table><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody>'
        f'</table></div><p class="note">{escape(table.caption)}</p>'
    )


def html_section(section: Section) -> str:
    owed = ""
    if section.missing:
        how = f"python run.py +experiment={section.recipe}"
        owed = f" {section.missing} of its runs have no record yet: <code>{how}</code>"
    parts = [f'<section id="{section.recipe}"><h2>{section.recipe}</h2><p>{escape(section.about)}{owed}</p>']
    parts += [html_table(table) for table in section.tables]
    parts += [picture(figure, f"{section.recipe}: {name}") for name, figure in section.figures]
    return "\n".join(parts) + "</section>"


def html_record(one: Record, how: str) -> str:
    """What produced a record, and its numbers."""
    scores = ", ".join(f"{escape(s['task'])} {100 * s['value']:.2f}" for s in one["scores"])
    code = one["code"]["commit"] or one["code"]["version"] or "unknown"
    facts = {
        "reproduce": f"<code>{escape(how)} overwrite=true</code>",
        "scores, %": scores,
        "scale": f"{one['selection']['scale']:g} ({escape(one['selection']['rule'])})",
        "code": escape(code) + (" and uncommitted changes" if one["code"]["dirty"] else ""),
        "seconds": f"{sum(one['seconds'].values()):.1f} on {one['threads']} threads, {escape(one['device'])}",
        "configuration": f"<pre>{escape(json.dumps(one['config'], indent=1, ensure_ascii=False))}</pre>",
    }
    lines = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    title = f"<code>{one['key']}</code> {escape(one['label'])}, {len(one['scores'])} tasks"
    return f'<details id="{one["key"]}"><summary>{title}</summary><dl>{lines}</dl></details>'


@cache
def _asset(name: str) -> str:
    return (HERE / "assets" / name).read_text(encoding="utf-8")


def page(sections: Sequence[Section], commands: Mapping[str, str], records: Iterable[Record]) -> str:
    """The whole file."""
    links = "".join(f'<a href="#{s.recipe}">{s.recipe}</a>' for s in sections)
    body = "\n".join(html_section(section) for section in sections)
    shown = "\n".join(html_record(one, commands[one["key"]]) for one in sorted(records, key=lambda one: one["key"]))
    parts = {"style": _asset("report.css"), "script": _asset("report.js"), "links": links, "body": body}
    return _asset("report.html").format(**parts, records=shown)


def build(names: Sequence[str], folder: Path, facts: Path) -> str:
    """The page. Raises TadropError where no recipe has a record."""
    sections, commands, found = [], {}, {}
    for name in names:
        gathered = gather(name, folder, facts)
        if gathered is not None:
            sections.append(gathered[0])
            commands |= {key: how for key, how in gathered[1].items() if key not in commands}
            found |= {one["key"]: one for one in gathered[2]}
    if not sections:
        raise TadropError(f"no recipe has a record in {folder}; begin with: python run.py +experiment=demo")
    return page(sections, commands, found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="only these; all that have records unless given")
    parser.add_argument("--records", type=Path, default=Path("results/records"))
    parser.add_argument("--published", type=Path, default=published.FOLDER)
    parser.add_argument("--out", type=Path, default=Path("results/report.html"))
    options = parser.parse_args()
    try:
        text = build(options.recipes or recipes.names(), options.records, options.published)
        write_text(options.out, text)
    except TadropError as error:
        sys.exit(f"error: {error}")
    out.print(f"written: {options.out} ({len(text.encode()) / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
