"""The whole page: what was found, sections of tables and figures, then every record.

Styles and script are in the file; nothing is fetched.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from tadrop.results.figures.words import described
from tadrop.results.findings import Finding
from tadrop.results.html.pictures import picture
from tadrop.results.html.tables import html_table
from tadrop.results.record import Record
from tadrop.results.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMER = "made with former formulas or defaults; the configuration is today's"
ASSETS = Path(__file__).parents[2] / "assets" / "report"


@dataclass(frozen=True)
class Section:
    """A part of the page.

    name:    of its place in the page, and of its files
    title:   what it is, in plain words; short: the same where it is one of a list
    kind:    the list that it stands in
    found:   what its tables say; headlines: what of it stands at the page's beginning
    missing: how many of its runs have no record; how: the command that makes them
    """

    name: str
    title: str
    about: str
    tables: tuple[Table, ...]
    figures: tuple[tuple[str, "Figure"], ...]
    short: str = ""
    kind: str = ""
    found: tuple[Finding, ...] = ()
    headlines: tuple[str, ...] = ()
    missing: int = 0
    how: str = ""


def page(
    sections: Sequence[Section], commands: Mapping[str, str], records: Iterable[Record]
) -> str:
    """The whole file. commands: what makes each record again, by key."""
    anchors: dict[str, str] = {}
    numbers: dict[str, int] = {}
    bodies: list[str] = []
    for section in sections:
        bodies.append(html_section(section, anchors))
    shown: list[str] = []
    for record in sorted(records, key=_rank):
        shown.append(html_record(record, commands[record["key"]], numbers))
    configs = json.dumps(list(numbers), ensure_ascii=False)
    return _asset("report.html").format(
        style=_asset("report.css"),
        script=_asset("report.js"),
        found=html_headlines(sections),
        links=html_links(sections),
        body="\n".join(bodies),
        records="\n".join(shown),
        configs=configs.replace("<", "\\u003c"),  # no tag can end the script early
    )


@cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def html_links(sections: Iterable[Section]) -> str:
    """The sections by kind, each a link."""
    kinds: dict[str, str] = {}
    for section in sections:
        link = f'<a href="#{section.name}">{escape(section.short or section.title)}</a>'
        kinds[section.kind] = kinds.get(section.kind, "") + link
    lists = ""
    for kind, links in kinds.items():
        lists += f"<p><b>{escape(kind)}</b>{links}</p>"
    return lists


def html_headlines(sections: Iterable[Section]) -> str:
    """What was found, a line a section that has something to say first of all."""
    lines = ""
    for section in sections:
        if section.headlines:
            said = " ".join(map(escape, section.headlines))
            link = f'<a href="#{section.name}">{escape(section.short)}</a>'
            lines += f"<li>{link}: {said}</li>"
    return f"<ul>{lines}</ul>"


def html_found(found: Iterable[Finding]) -> str:
    """All that the tables of a section say."""
    several = list(found)
    lines = ""
    for one in several:
        of = f"{escape(one.title)}: " if len(several) > 1 else ""
        for sentence in one.sentences:
            lines += f"<li>{of}{escape(sentence)}</li>"
    return f"<ul>{lines}</ul>" if lines else ""


def html_section(section: Section, anchors: dict[str, str]) -> str:
    """A section with its tables and figures; anchors: as in picture."""
    name, owed = section.name, ""
    if section.missing:
        owed = (
            f" {section.missing} of its runs have no record yet: "
            f"<code>{section.how}</code>"
        )
    parts = [
        f'<section id="{name}"><h2>{escape(section.title)} '
        '<a class="up" href="#top">top</a></h2>'
        f"<p>{escape(section.about)}{owed}</p>{html_found(section.found)}"
    ]
    for table in section.tables:
        parts.append(html_table(table, section.name))
    for what, figure in section.figures:
        alt = described(section.short or section.title, what)
        parts.append(picture(figure, f"{name}: {what}", anchors, alt))
    return "\n".join(parts) + "</section>"


def _rank(record: Record) -> tuple[str, int, str, str]:
    """Sorts records by model, number of tasks and label."""
    model = record["config"]["model"]["name"]
    return model, len(record["scores"]), record["label"], record["key"]


def html_record(record: Record, how: str, numbers: dict[str, int]) -> str:
    """What produced a record, and its numbers.

    numbers: every part of a configuration so far and its number, which is added to;
    the page's script joins the parts
    """
    code, selection = record["code"], record["selection"]
    commit = code["commit"] or code["version"] or "unknown"
    changed = " and uncommitted changes" if code["dirty"] else ""
    scores: list[str] = []
    for score in record["scores"]:
        scores.append(f"{escape(score['task'])} {100 * score['value']:.2f}")
    parts: list[str] = []
    for part in config_parts(record["config"]):
        parts.append(str(numbers.setdefault(part, len(numbers))))
    seconds = f"{sum(record['seconds'].values()):.1f}"
    facts = {
        "reproduce": f"<code>{escape(how)} overwrite=true</code>",
        "scores, %": ", ".join(scores),
        "scale": f"{selection['scale']:g} ({escape(selection['rule'])})",
        "code": escape(commit) + changed,
        "seconds": f"{seconds} on {record['threads']} threads, "
        + escape(record["device"]),
        "configuration": f'<pre data-parts="{" ".join(parts)}"></pre>',
    }
    if record.get("former"):
        facts["†"] = FORMER
    lines = ""
    for name, value in facts.items():
        lines += f"<dt>{name}<dd>{value}"
    key, label = record["key"], escape(record["label"])
    title = f"<code>{key}</code> {label}, {len(scores)} tasks"
    return f'<details id="{key}"><summary>{title}</summary><dl>{lines}</dl></details>'


def config_parts(config: Mapping[str, object]) -> list[str]:
    """A configuration as JSON, in parts that many records share.

    Joined by commas, between braces, they are the whole again.
    """
    texts: list[str] = []
    for name, node in config.items():
        whole = json.dumps({name: node}, indent=1, ensure_ascii=False)
        texts.append(whole[2:-2])
    return texts
