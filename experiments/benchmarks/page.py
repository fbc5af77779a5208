"""The pages of the benchmarks: what was measured, as tables in Markdown and in JSON."""

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "results" / "benchmarks"

Section = dict[str, Any]


@dataclass
class Page:
    """What is measured, section by section, as rows of a table."""

    sections: dict[str, Section] = field(default_factory=dict)

    def add(
        self,
        name: str,
        title: str,
        head: Sequence[str],
        rows: Sequence[Sequence[object]],
        notes: str = "",
    ) -> None:
        """Puts a section on the page, in the place of an older one, and prints it."""
        section = {
            "title": title,
            "head": list(head),
            "rows": [list(row) for row in rows],
            "notes": notes,
        }
        self.sections[name] = section
        print(render_section(section), flush=True)


def verdict(met: bool) -> str:
    """The word for whether a limit is kept."""
    return "met" if met else "not met"


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def earlier(stem: Path) -> Page:
    """The page as it was left, so that a run of some sections keeps the others.

    It is empty where there is none.
    """
    file = stem.with_suffix(".json")
    if not file.exists():
        return Page()
    return Page(json.loads(file.read_text(encoding="utf-8"))["sections"])


def write(
    page: Page,
    parts: Sequence[str],
    stem: Path,
    title: str,
    how: str,
    command: str,
) -> None:
    """Writes the page as stem.md and stem.json, its sections in the order of parts.

    how: what is measured and against what; command: what makes the page
    """
    from tadrop.storage.files import write_text

    sections = {name: page.sections[name] for name in parts if name in page.sections}
    about = machine()
    content = {"machine": about, "command": command, "sections": sections}
    write_text(stem.with_suffix(".json"), json.dumps(content, indent=1) + "\n")
    facts = [f"{key.replace('_', ' ')} {value}" for key, value in about.items()]
    made_by = f"Made by `{command}` on: {', '.join(facts)}."
    head = f"# {title}\n\n{made_by}\n\n{how}\n"
    text = "\n".join([head, *map(render_section, sections.values())])
    write_text(stem.with_suffix(".md"), text)


def render_section(section: Mapping[str, Any]) -> str:
    """A section in Markdown."""
    lines = [f"## {section['title']}", "", _table_row(section["head"])]
    lines.append("|" + " --- |" * len(section["head"]))
    lines += map(_table_row, section["rows"])
    if section["notes"]:
        lines += ["", section["notes"]]
    return "\n".join(lines) + "\n"


def _table_row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def machine() -> dict[str, object]:
    """What the figures depend on: processor, memory and versions."""
    import torch

    processor = _value_of("/proc/cpuinfo", "model name") or platform.machine()
    kilobytes = _value_of("/proc/meminfo", "MemTotal").split(" ")[0]
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(kilobytes or 0) / 1e6),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _value_of(file: str, key: str) -> str:
    """What stands behind a key of a file of lines `key: value`, or an empty string."""
    path = Path(file)
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith(key):
                return line.split(":")[1].strip()
    return ""
