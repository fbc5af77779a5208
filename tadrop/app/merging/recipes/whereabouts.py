"""The line of a recipe that a message is about, though the recipe itself was well read."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tadrop.app.merging.recipes.document import Document, Way, read_document
from tadrop.app.merging.recipes.recipe import recipe_file
from tadrop.errors import TadropError

# What a message begins with, and the word of a recipe that it is about.
WORDS = {
    r"merge=": "method",
    r"merge\.scale\b": "scale",
    r"(?:model|export)\.(\w+)": "",
    r"(rename)\.": "",
    r"(tokenizer|keep_base|chat_template)\b": "",
}


@contextmanager
def told_where(file: Path) -> Iterator[None]:
    """Puts FILE:LINE before the message of a mistake that an entry of a recipe is."""
    try:
        yield
    except TadropError as error:
        document = read_document(recipe_file(file), "recipe")
        way = _way(document, str(error))
        if way is None:
            raise
        raise TadropError(f"{document.at(*way)}: {error}") from error


def _way(document: Document, message: str) -> Way | None:
    """The entry that a message is about; None where it begins with none."""
    content = document.content
    for key in ("base", "base_model", "experts", "models"):
        for way, word in _texts(content.get(key), (key,)):
            beside = document.file.parent / word
            if message.startswith((f"{word}: ", f"{beside}: ")):
                return way
    for index, setting in enumerate(content.get("settings") or ()):
        name = str(setting).partition("=")[0]
        if re.match(rf"([\w.]+\.)?{re.escape(name)}[=:]", message):
            return ("settings", index)
    for pattern, word in WORDS.items():
        found = re.match(pattern, message)
        if found and (word or found[1]) in content:
            return _inner(document, (word or found[1],), message)
    return None


def _texts(node: Any, above: Way) -> Iterator[tuple[Way, str]]:
    """Every text below a node, and where it stands."""
    if isinstance(node, str):
        yield above, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _texts(value, (*above, str(key)))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _texts(value, (*above, index))


def _inner(document: Document, way: Way, message: str) -> Way:
    """The entry below this one whose name the message quotes, or this one."""
    for other in document.lines:
        if other[:1] == way and len(other) == 2 and f"'{other[1]}'" in message:
            return other
    return way
