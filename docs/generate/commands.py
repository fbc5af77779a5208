"""The reference of commands: every verb with what its file says of it."""

import ast
import re
from pathlib import Path

from tadrop.app.command import VERBS, verbs

HEAD = """\
# Commands

`tadrop VERB`; in a checkout also `python -m tadrop VERB`. `tadrop VERB --help` says the
same as this page, with every option. `tadrop run` takes the words of the
[configuration reference](configuration.md), as `python run.py` does.

"""
WORD = re.compile(r"^([a-z_][\w.]*(?:, [a-z_][\w.]*)*):\s+(.*)$")
FEW = 3  # words of a line that names what is below it


def page() -> str:
    """The whole reference."""
    text = HEAD
    for verb, module in verbs().items():
        path = VERBS.joinpath(*module.split(".")[3:]).with_suffix(".py")
        text += f"## `tadrop {verb}` {{ #{verb} }}\n\n{said(path)}\n\n"
    return text


def said(path: Path) -> str:
    """A file's docstring as Markdown: what is indented in it is a block of code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    text = ast.get_docstring(tree) or ""
    lines: list[str] = []
    for line in text.splitlines():
        # A command at the beginning of a line is an example too.
        lines.append(f"    {line}" if line.startswith("tadrop ") else line)
    return "\n".join(lines)


def listed(text: str) -> str:
    """A docstring in which each line at the margin of an aligned list is an item."""
    return "\n\n".join(map(_paragraph, text.split("\n\n")))


def _paragraph(text: str) -> str:
    lines = text.split("\n")
    at_margin = [line for line in lines if not line.startswith(" ")]
    has_words = any(map(WORD.match, at_margin))
    if not at_margin or not (has_words or len(at_margin) < len(lines)):
        return text  # a block of code, or prose
    items: list[str] = []
    for line in lines:
        is_item = bool(items) and items[-1].startswith("- ")
        if line.startswith(" ") and items:
            items[-1] += f" {line.strip()}"
        elif WORD.match(line):
            items.append(WORD.sub(r"- `\1`: \2", line))
        elif " -> " in line or _is_heading(line):
            items.append(f"- `{line}`:")
        elif is_item:
            items[-1] += f" {line}"
        else:
            items.append(line)
    return _told_apart(items)


def _is_heading(line: str) -> bool:
    """Whether a line names what the lines below it are about."""
    return len(line.split()) <= FEW and not line.endswith(".")


def _told_apart(items: list[str]) -> str:
    """Items with an empty line where a list begins."""
    lines: list[str] = []
    for item in items:
        if item.startswith("- ") and lines and not lines[-1].startswith("- "):
            lines.append("")
        lines.append(item)
    return "\n".join(lines)
