"""The configuration reference: every key, what it may be, its default, and its comment.

Keys and kinds come from the schema that checks a command's words
(tadrop/app/schema), defaults and comments from the YAML files.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from tadrop.app.places import CONF
from tadrop.app.schema import kinds
from tadrop.app.schema.configuration import LEAST, SCHEMAS, TARGETS
from tadrop.app.schema.signatures import signature
from tadrop.app.schema.telling import spelling

HEAD = """\
# Configuration reference

A word of a command line is `KEY=VALUE` (a setting) or `GROUP=NAME` (a file of
`conf/GROUP`). Every word is checked before anything is read: an unknown key, a wrong
type or a value out of range is told in one line, with the nearest name that there is.
`tadrop run --cfg job` shows the whole configuration of a command.

## `tadrop run` { #run }

`conf/config.yaml`; the choices of files come first.

"""
FINETUNE = """
## `tadrop finetune` { #finetune }

`conf/finetune.yaml`.

"""
TABLE = "| key | may be | default | |\n|:--|:--|:--|:--|\n"
# What files say in a page of their own, or in a page of results.
APART = ("merge", "hydra")
COMMENT = re.compile(r"^(\s*)([\w@.\-]+):(.*?)\s#\s?(.*)$")


@dataclass(frozen=True)
class Key:
    """A line of the reference."""

    name: str
    may_be: str
    default: str
    about: str

    def line(self) -> str:
        """The line as Markdown."""
        cells = (f"`{self.name}`", self.may_be, self.default, self.about)
        return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def page() -> str:
    """The whole reference."""
    text = HEAD + _choices("config") + TABLE + _words("config")
    text += FINETUNE + _choices("finetune") + TABLE + _words("finetune")
    for group in sorted(path.name for path in CONF.iterdir() if path.is_dir()):
        if group not in APART:
            text += _group(group)
    return text


def _words(name: str) -> str:
    """The keys of a schema, those that hold files of a group left out."""
    path = CONF / f"{name}.yaml"
    said = yaml.safe_load(path.read_text(encoding="utf-8"))
    keys = list(_fields(SCHEMAS[name], "", said, comments(path)))
    return "\n".join(key.line() for key in keys) + "\n"


def _fields(
    schema: type[BaseModel],
    parent: str,
    said: Mapping[str, Any],
    about: Mapping[str, str],
) -> Iterator[Key]:
    """The keys of a schema that a YAML gives a value, in the schema's order."""
    for name, field in schema.model_fields.items():
        kind = field.rebuild_annotation()
        key = f"{parent}.{name}" if parent else name
        if name not in said:
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _fields(kind, key, said[name], about)
        else:
            default = f"`{spelling(said[name])}`"
            yield Key(key, kinds.phrase(kind), default, about.get(key, ""))


def comments(path: Path) -> dict[str, str]:
    """What stands behind each key of a YAML file, by dotted key."""
    found: dict[str, str] = {}
    open_keys: list[tuple[int, str]] = []
    last = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        more = re.match(r"^\s+#\s?(.*)$", line)
        if more and last:  # a comment that goes on
            found[last] += f" {more[1]}"
            continue
        match = re.match(r"^(\s*)([\w@.\-]+):", line)
        if not match:
            last = ""
            continue
        depth = len(match[1])
        open_keys = [(at, key) for at, key in open_keys if at < depth]
        open_keys.append((depth, match[2]))
        remark = COMMENT.match(line)
        last = ".".join(key for _, key in open_keys) if remark else ""
        if remark:
            found[last] = remark[4]
    return found


def _choices(name: str) -> str:
    """The groups of files that a command chooses from, with the default of each."""
    said = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    lines: list[str] = []
    for entry in said["defaults"]:
        if not isinstance(entry, dict):
            continue
        for key, choice in entry.items():
            group, _, package = key.partition("@")
            if group.startswith("override") or package.startswith("references"):
                continue
            word = package or group
            where = (
                "[methods](../methods/index.md)"
                if group == "merge"
                else f"[below](#{group})"
            )
            lines.append(f"| `{word}=NAME` | {where} | `{choice}` |")
    if name == "config":
        lines.append("| `+board=NAME` | [below](#board) | |")
    return "| choice | files | default |\n|:--|:--|:--|\n" + "\n".join(lines) + "\n\n"


def _group(group: str) -> str:
    """Every file of a group of conf/."""
    text = f"\n## `{group}` {{ #{group} }}\n"
    for path in sorted((CONF / group).rglob("*.yaml")):
        if not path.name.startswith("_"):
            text += _file(group, path)
    return text


def _file(group: str, path: Path) -> str:
    """One file: what it says of itself, and its keys."""
    text = path.read_text(encoding="utf-8")
    about = " ".join(_remarks(text))
    node = _declared(path)
    keys = [] if group == "board" else list(_settings(group, node, comments(path)))
    body = TABLE + "\n".join(key.line() for key in keys) + "\n" if keys else ""
    return f"\n### {path.stem}\n\n{about}\n\n{body}"


def _remarks(text: str) -> Iterator[str]:
    """The lines of the comment that a file begins with."""
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        if not line.startswith("# @package"):
            yield line.removeprefix("#").strip()


def _declared(path: Path) -> dict[str, Any]:
    """What a file says, over what the files of its group say that it builds on."""
    node: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    below: dict[str, Any] = {}
    for other in node.pop("defaults", ()):
        if isinstance(other, str) and other != "_self_":
            below |= _declared(path.with_name(f"{other}.yaml"))
    return below | node


def _settings(
    group: str, node: Mapping[str, Any], about: Mapping[str, str]
) -> Iterator[Key]:
    """The settings of a file; a node under the group's own name is meant by it."""
    inner = node.get(group, node)
    if not isinstance(inner, Mapping):
        return
    word = "recipe" if group == "finetune" else group
    target = inner.get("_target_", TARGETS.get(word))
    takes = signature(target) if isinstance(target, str) else None
    for name, value in inner.items():
        if name.startswith("_"):
            continue
        kind = takes.kinds.get(name, Any) if takes else Any
        kind = kinds.of_value(value) if kind is Any else kind
        if name in LEAST:
            kind = kinds.narrowed(kind, LEAST[name])
        phrase = "" if kind is Any else kinds.phrase(kind)
        remark = about.get(name) or about.get(f"{group}.{name}", "")
        yield Key(f"{word}.{name}", phrase, _default(value), remark)


def _default(value: Any) -> str:
    """A default as a command line has it; long ones are said to be long."""
    text = spelling(value)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:56]}…`"
