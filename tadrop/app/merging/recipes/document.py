"""YAML files that people write, read with the line on which everything stands."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tadrop.errors import TadropError
from tadrop.storage.torch_files.refusal import first_line

# Where an entry stands in a file: the names and the numbers of what it is in.
Way = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """What a file says, and where.

    lines: the line of every entry, counted from 1
    """

    file: Path
    content: Any
    lines: dict[Way, int] = field(default_factory=dict)

    def at(self, *way: str | int) -> str:
        """FILE:LINE of an entry, or of what it would stand in where it is missing."""
        for length in range(len(way), 0, -1):
            if way[:length] in self.lines:
                return f"{self.file}:{self.lines[way[:length]]}"
        return str(self.file)


def read_document(file: Path, what: str) -> Document:
    """Reads a YAML file. what: what it is, for errors

    Raises TadropError with the line that is no YAML, or says again what was said.
    """
    if not file.is_file():
        raise TadropError(f"{file}: there is no such {what}")
    try:
        text = file.read_text(encoding="utf-8")
        lines: dict[Way, int] = {}
        for way, line in _entries(yaml.compose(text, yaml.SafeLoader), ()):
            if way in lines:
                raise TadropError(
                    f"{file}:{line}: {way[-1]} was said in line {lines[way]} already"
                )
            lines[way] = line
        return Document(file, yaml.safe_load(text), lines)
    except (OSError, UnicodeDecodeError) as error:
        raise TadropError(
            f"{file}: the {what} cannot be read ({first_line(error)})"
        ) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise TadropError(
            f"{file}:{line}: the {what} is no YAML ({error.problem})"
        ) from error
    except yaml.YAMLError as error:
        raise TadropError(
            f"{file}: the {what} is no YAML ({first_line(error)})"
        ) from error


def _entries(node: Any, above: Way) -> Iterator[tuple[Way, int]]:
    """Every entry below a node, and the line that it begins in."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            way = (*above, str(key.value))
            yield way, key.start_mark.line + 1
            yield from _entries(value, way)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            way = (*above, index)
            yield way, value.start_mark.line + 1
            yield from _entries(value, way)
