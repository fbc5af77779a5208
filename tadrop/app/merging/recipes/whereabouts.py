"""The line of a recipe, or of a file of rules, that a message is about, though the file
itself was well read.
"""

import re
from collections.abc import Collection, Iterator
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


# What messages call the words of a file of rules.
RULES = {
    r"model\.weights\b": "weight",
    r"model\.density\b": "density",
    r"model\.t\b": "t",
    r"merge=\w+ has no weights\b": "weight",
    r"merge=\w+ has no t\b": "t",
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
    """The entry below this one whose name or value the message quotes, or this one."""
    quoted = {*re.findall(r"'([^']*)'", message)}
    quoted.update(re.findall(r"\b(?:has|is) ([\w.+-]+);", message))
    node = document.content
    for word in way:
        node = node[word]
    for below, words in _spelled(node, way):
        if quoted & words:
            return below
    return way


def _spelled(node: Any, above: Way) -> Iterator[tuple[Way, set[str]]]:
    """Every name and value below a node, as messages may spell it, and its place."""
    if isinstance(node, dict):
        for key, value in node.items():
            way = (*above, str(key))
            yield way, {str(key)}
            yield from _spelled(value, way)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _spelled(value, (*above, index))
    else:
        words = {str(node)}
        if isinstance(node, int | float) and not isinstance(node, bool):
            words.add(str(float(node)))
        yield above, words


@contextmanager
def told_in_rules(file: Path, said: Collection[str]) -> Iterator[None]:
    """Puts FILE:LINE before the message of a mistake that an entry of rules is.

    said: words of the rules that options say too; of them it is told where an entry
    is what the message quotes
    """
    try:
        yield
    except TadropError as error:
        document = read_document(file, "file of rules")
        for pattern, word in RULES.items():
            if re.match(pattern, str(error)) and word in (document.content or ()):
                way = _inner(document, (word,), str(error))
                if len(way) > 1 or word not in said:
                    told = re.sub(r"^model\.\w+", word, str(error))
                    raise TadropError(f"{document.at(*way)}: {told}") from error
        raise
