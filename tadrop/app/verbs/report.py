"""One static HTML page of every table and figure that the records can fill.

    python -m tadrop.app.verbs.report [--records DIR] [--out results/report.html]
    [RECIPE ...]

Self-contained: styles, script and figures are in the file, nothing is fetched. Tables
sort by a click on a heading. Every number of ours links to its record, which shows what
produced it and the command that produces it again; published numbers show their source.
Recipes without any record are left out; those with some say how many are missing.
Without RECIPE the leaderboards stand there too.
"""

import argparse
import io
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tadrop.app import boards as recipes
from tadrop.app.console import out
from tadrop.app.mistakes import told_in_one_line
from tadrop.app.verbs import leaderboard
from tadrop.app.verbs import table as tables
from tadrop.results import plot, published, record
from tadrop.results.record import Record
from tadrop.results.table import Row, Table
from tadrop.storage.files import write_text
from tadrop.types import TadropError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASSETS = Path(__file__).parents[2] / "assets" / "report"
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


@dataclass(frozen=True)
class Section:
    """A recipe's part of the page. missing: runs of it that have no record; how: the
    command that makes them.
    """

    recipe: str
    about: str
    tables: tuple[Table, ...]
    figures: tuple[tuple[str, "Figure"], ...]
    missing: int = 0
    how: str = ""


def command(recipe: str, cfg_words: Sequence[str], reference: str | None = None) -> str:
    """The command of one run alone: the recipe's choices spelled out, without its
    sweep.
    """
    chosen = recipes.choices(recipe)
    words = [
        f"{group}={chosen[group]}" for group in ("model", "tasks") if group in chosen
    ]
    words += [word for word in cfg_words if not word.startswith("+experiment=")]
    if reference is not None:
        words = [
            word
            for word in words
            if word.split("=")[0].split(".")[0]
            not in ("merge", "tadrop", "seed", "select")
        ]
        words += [f"merge={reference}", "tadrop=off"]
    return "python run.py " + shlex.join(words)


def gather(
    recipe: str, folder: Path, facts: Path
) -> tuple[Section, dict[str, str], list[Record]] | None:
    """A recipe's section, the command of each of its records, and the records; None
    where there is none.
    """
    commands: dict[str, str] = {}
    missing = set()
    for config, words, needed in recipes.with_plain(recipe):
        name, file = config["merge"]["name"], record.path(folder, config)
        if file.stem in commands:
            continue
        if file.exists():
            commands[file.stem] = command(
                recipe, words, name if name in config["references"] else None
            )
        elif needed:
            missing.add(file.stem)
    if not commands:
        return None
    found = [record.read(folder / f"{key}.json") for key in commands]
    shown, drawn = tables.contents(recipe, found, folder, facts)
    pictures = tuple((what, figure) for _, what, figure in drawn)
    how = f"python run.py +experiment={recipe}"
    section = Section(
        recipe,
        recipes.about(recipe),
        tuple(shown.values()),
        pictures,
        len(missing),
        how,
    )
    return section, commands, found


def gather_board(
    board: leaderboard.Board,
) -> tuple[Section, dict[str, str], list[Record]]:
    """As gather, of a leaderboard."""
    made = leaderboard.ranked(board)
    drawn = (("storage", plot.accuracy_against_storage(made)),)
    how = f"python -m tadrop.app.verbs.leaderboard {board.tasks}"
    section = Section(
        f"leaderboard_{board.tasks}",
        leaderboard.ABOUT,
        (made,),
        drawn,
        len(board.owed),
        how,
    )
    commands = {
        one["key"]: f"python run.py {board.lines[one['key']]}" for one in board.records
    }
    return section, commands, board.records


def small(svg: str) -> str:
    """An SVG of matplotlib's without what only an editor reads: a third of the length,
    the same picture.

    Metadata, line breaks, names that nothing refers to and groups without attributes
    go; positions keep two decimals; the font is named once, and every style.
    """
    used = dict.fromkeys(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    short = {name: f"i{at}" for at, name in enumerate(used)}
    styles: dict[str, str] = {}
    kept: list[bool] = []  # of the groups that are open at this place

    def tag(found: re.Match[str]) -> str:
        text = re.sub(r"\s+", " ", found[0])
        text = re.sub(
            r' id="([^"]*)"',
            lambda each: f' id="{short[each[1]]}"' if each[1] in short else "",
            text,
        )
        text = re.sub(
            r'(href="|url\()#([^")]+)', lambda each: f"{each[1]}#{short[each[2]]}", text
        )
        text = text.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace(
            "xlink:href", "href"
        )
        text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
        text = re.sub(r' transform="rotate\(-0 [^"]*"', "", text)
        text = (
            re.sub(r"(\.\d\d)\d+", r"\1", text)
            .replace("#000000", "#000")
            .replace("#ffffff", "#fff")
        )
        text = (
            re.sub(r" ?([MLCQz]) ?(?=[-\d\"MLCQz ])", r"\1", text)
            if text.startswith("<path")
            else text
        )
        text = re.sub(r"(?<=[:;]) | (?=/?>)", "", text).replace('"', "'")
        text = re.sub(
            r"style='([^']*)'",
            lambda each: f"class='{styles.setdefault(each[1], f's{len(styles)}')}'",
            text,
        )
        if re.match("<g[ >]", text) and not text.endswith("/>"):
            kept.append(text != "<g>")
            return text if kept[-1] else ""
        return text if text != "</g>" or kept.pop() else ""

    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(
        r">\s+<", "><", re.sub(r"<[^>]*>", tag, re.sub(r">\s+<", "><", svg))
    ).strip()
    rules = "".join(f".{name}{{{style}}}" for style, name in styles.items())
    return svg.replace(
        "</style>",
        f"text{{font-family:DejaVu Sans,Verdana,Arial,sans-serif}}{rules}</style>",
        1,
    )


def picture(figure: "Figure", name: str, seen: dict[str, str]) -> str:
    """A figure inside the page, as an image so that the ids of two figures cannot meet;
    or a link to the same one.

    seen: the place of every picture so far, which is added to
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    data = quote(small(buffer.getvalue()), safe=" <>'=:/;,()+!?*-._~{}@&|[]")
    recipe, _, what = name.partition(": ")
    if data in seen:
        return f'<p>{escape(what)}: <a href="#{seen[data]}">as above</a></p>'
    seen[data] = f"{recipe}.{what}"
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    size = f'width="{width}" height="{height}" loading="lazy"'
    return (
        f'<figure id="{seen[data]}"><img alt="{escape(name)}" {size} '
        f'src="data:image/svg+xml,{data.replace("&", "&amp;")}"></figure>'
    )


def _number(cell: str) -> str:
    """What a size sorts by, in bytes; the page's script reads all other cells as they
    are.
    """
    found = re.fullmatch(r"([\d.e+]+) (B|kB|MB|GB)", cell)
    return f"{float(found[1]) * UNITS[found[2]]:g}" if found else ""


def _cell(heading: str, cell: str, row: Row) -> str:
    sort = f' data-n="{_number(cell)}"' if _number(cell) else ""
    interval = {"diff": row.interval, "vs uniform": row.versus_interval}.get(heading)
    attributes = sort + _significance(interval)
    if not cell or not row.keys:
        return f"<td{attributes}>{escape(cell)}"
    return f"<td{attributes}><a href=#{row.keys[0]}>{escape(cell)}</a>"


def _significance(interval: tuple[float, float] | None) -> str:
    """A class, gain or loss, where the interval of a difference leaves out zero; else
    nothing is claimed.
    """
    if interval is None or interval[0] <= 0 <= interval[1]:
        return ""
    return f' class="{"gain" if interval[0] > 0 else "loss"}"'


def _row(row: Row, table: Table, method: str) -> str:
    """A line. method: whose variant it is, which shows where sorting has taken it away
    from there.
    """
    kind = "published" if row.source else "reference" if row.is_reference else ""
    classes = " ".join(
        word for word in (kind, "ends" if row.ends_section else "") if word
    )
    title = f' title="{escape(row.source)}"' if row.source else ""
    variant = row.label.startswith("  ")
    label = (f'<span class="of">{escape(method)} </span>' if variant else "") + escape(
        row.label.strip()
    )
    label = f'<a href="#{row.keys[0]}">{label}</a>' if row.keys else label
    indent = ' class="variant"' if variant else ""
    seeds = (
        f' <a class="seed" href="#{key}" title="seed {i}">{i}</a>'
        for i, key in enumerate(row.keys)
    )
    cells = "".join(
        _cell(*pair, row) for pair in zip(table.headings, table.cells(row), strict=True)
    )
    shown = f' class="{classes}"' if classes else ""
    return f'<tr{shown}{title}><th scope="row"{indent}>{label}{"".join(seeds) if len(row.keys) > 1 else ""}</th>{cells}'


def html_table(table: Table) -> str:
    """A sortable table whose numbers link to their records. Tags that HTML closes by
    itself are left open.
    """
    heads = "".join(
        f"<th scope='col'><button>{escape(name)}</button></th>"
        for name in ("method", *table.headings)
    )
    lines, method = [], ""
    for row in table.rows:
        method = method if row.label.startswith("  ") else row.label
        lines.append(_row(row, table, method))
    rows = "\n".join(lines)
    return (
        f'<h3>{escape(table.title)}</h3><div class="wide"><table><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody>'
        f'</table></div><p class="note">{escape(table.caption)}</p>'
    )


def html_section(section: Section, seen: dict[str, str]) -> str:
    """A section; seen: as in picture."""
    owed = ""
    if section.missing:
        owed = f" {section.missing} of its runs have no record yet: <code>{section.how}</code>"
    head = f'<h2>{section.recipe} <a class="up" href="#top">top</a></h2>'
    parts = [
        f'<section id="{section.recipe}">{head}<p>{escape(section.about)}{owed}</p>'
    ]
    parts += [html_table(table) for table in section.tables]
    parts += [
        picture(figure, f"{section.recipe}: {name}", seen)
        for name, figure in section.figures
    ]
    return "\n".join(parts) + "</section>"


def pieces(config: Mapping[str, object]) -> list[str]:
    """A configuration as JSON, in pieces that many records share; joined by commas they
    are the whole again.
    """
    return [
        json.dumps({name: node}, indent=1, ensure_ascii=False)[2:-2]
        for name, node in config.items()
    ]


def html_record(one: Record, how: str, numbers: dict[str, int]) -> str:
    """What produced a record, and its numbers.

    numbers: every piece of a configuration so far and its number, which is added to;
    the page's script joins them
    """
    scores = ", ".join(
        f"{escape(s['task'])} {100 * s['value']:.2f}" for s in one["scores"]
    )
    code = one["code"]["commit"] or one["code"]["version"] or "unknown"
    parts = " ".join(
        str(numbers.setdefault(piece, len(numbers))) for piece in pieces(one["config"])
    )
    facts = {
        "reproduce": f"<code>{escape(how)} overwrite=true</code>",
        "scores, %": scores,
        "scale": f"{one['selection']['scale']:g} ({escape(one['selection']['rule'])})",
        "code": escape(code)
        + (" and uncommitted changes" if one["code"]["dirty"] else ""),
        "seconds": f"{sum(one['seconds'].values()):.1f} on {one['threads']} threads, {escape(one['device'])}",
        "configuration": f'<pre data-parts="{parts}"></pre>',
    }
    lines = "".join(f"<dt>{name}<dd>{value}" for name, value in facts.items())
    title = (
        f"<code>{one['key']}</code> {escape(one['label'])}, {len(one['scores'])} tasks"
    )
    return f'<details id="{one["key"]}"><summary>{title}</summary><dl>{lines}</dl></details>'


def _place(one: Record) -> tuple[str, int, str, str]:
    """Where a record stands among the others: by model, number of tasks and label."""
    return one["config"]["model"]["name"], len(one["scores"]), one["label"], one["key"]


@cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def page(
    sections: Sequence[Section], commands: Mapping[str, str], records: Iterable[Record]
) -> str:
    """The whole file."""
    seen: dict[str, str] = {}
    numbers: dict[str, int] = {}
    links = "".join(f'<a href="#{s.recipe}">{s.recipe}</a>' for s in sections)
    body = "\n".join(html_section(section, seen) for section in sections)
    shown = "\n".join(
        html_record(one, commands[one["key"]], numbers)
        for one in sorted(records, key=_place)
    )
    configs = json.dumps(list(numbers), ensure_ascii=False).replace(
        "<", "\\u003c"
    )  # no tag can end the script early
    parts = {
        "style": _asset("report.css"),
        "script": _asset("report.js"),
        "links": links,
        "body": body,
    }
    return _asset("report.html").format(**parts, records=shown, configs=configs)


def build(
    names: Sequence[str],
    folder: Path,
    facts: Path,
    boards: Iterable[leaderboard.Board] = (),
) -> str:
    """The page of these recipes and boards. Raises TadropError where no recipe has a
    record.
    """
    sections, commands, found = [], {}, {}
    gathered = [
        whole for name in names if (whole := gather(name, folder, facts)) is not None
    ]
    if not gathered:
        raise TadropError(
            f"no recipe has a record in {folder}; begin with: python run.py +experiment=demo"
        )
    ranked = [gather_board(board) for board in boards]
    for section, lines, records in gathered + ranked:
        sections.append(section)
        commands |= {key: how for key, how in lines.items() if key not in commands}
        found |= {one["key"]: one for one in records}
    if len(ranked) > 1:
        drawn = plot.accuracy_against_tasks(
            [made for section, *_ in ranked for made in section.tables]
        )
        about = "The best methods as tasks are added, and what TADrop adds to each."
        sections.append(Section("leaderboard_tasks", about, (), (("tasks", drawn),)))
    return page(sections, commands, found.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "recipes", nargs="*", help="only these; all that have records unless given"
    )
    parser.add_argument("--records", type=Path, default=Path("results/records"))
    parser.add_argument("--published", type=Path, default=published.FOLDER)
    parser.add_argument("--out", type=Path, default=Path("results/report.html"))
    options = parser.parse_args()
    with told_in_one_line():
        boards = [] if options.recipes else leaderboard.standing(options.records)
        text = build(
            options.recipes or recipes.names(),
            options.records,
            options.published,
            boards,
        )
        write_text(options.out, text)
    out.print(f"written: {options.out} ({len(text.encode()) / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
