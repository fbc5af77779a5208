"""What a lock pins: `name==version`, with the lines of its hashes."""

import re
from pathlib import Path

PIN = re.compile(r"^([\w.-]+)==([^ ;\\]+)")


def pins(text: str) -> dict[str, set[str]]:
    """The versions of every package, by name; several where platforms differ."""
    versions: dict[str, set[str]] = {}
    for line in text.splitlines():
        if match := PIN.match(line):
            versions.setdefault(match[1], set()).add(match[2])
    return versions


def blocks(text: str) -> list[str]:
    """The pins of a lock with their hashes, each a block of lines."""
    parts: list[list[str]] = []
    for line in text.splitlines():
        if PIN.match(line):
            parts.append([line])
        elif parts and line.startswith(" "):
            parts[-1].append(line)
    return ["\n".join(part) for part in parts]


def locks(folder: Path) -> list[Path]:
    """Every lock of a folder."""
    return sorted(folder.glob("requirements*.lock"))
