"""JSON that every reader understands: NaN and infinity have no place in it."""

import json
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from tadrop.errors import TadropError


def not_finite(node: Any, place: str = "") -> str:
    """Where in a node a number is NaN or infinite, by dotted path; "" for nowhere."""
    if isinstance(node, float) and not isfinite(node):
        return place or "it"
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping):
        children = node.items()
    elif isinstance(node, list | tuple):
        children = enumerate(node)
    for name, child in children:
        path = f"{place}.{name}" if place else str(name)
        if found := not_finite(child, path):
            return found
    return ""


def json_text(node: Any, of: str, indent: int | None = 1) -> str:
    """A node as JSON. Raises TadropError naming what of it is NaN or infinite.

    of: what is written, for the error
    """
    try:
        return json.dumps(node, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        place = not_finite(node)
        if not place:
            raise
        raise TadropError(
            f"{of}: {place} is not a finite number; nothing was written"
        ) from error
