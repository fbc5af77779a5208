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
BLOCK = re.compile(r"(?:^ {4}.*\n?|^\n(?= {4}))+", re.M)


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
