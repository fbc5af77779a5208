"""Everything that a pickle holds, each node once, however its parts are shared."""

from collections.abc import Iterable, Iterator
from typing import Any

from tadrop.storage.pickles.nodes import (
    LONGEST,
    Dictionary,
    Global,
    Group,
    Made,
    Stored,
    UnreadableError,
)
from tadrop.storage.torch_files.tensors import attached, is_tensor

DEPTH = 300  # levels; a module takes three
LEAVES = (str, bytes, int, float, type(None), Global)
# Attributes of a module that its state dict does not name.
UNNAMED = ("_modules", "_parameters", "_buffers")

Child = tuple[Any, Any]  # its label and itself


def walk(root: Any) -> Iterator[tuple[list[Any], Any]]:
    """Every node with the labels that lead to it, once, in order.

    The list of labels changes while the walk goes on. Of a tensor only its Python
    attributes are walked. Raises UnreadableError where nodes nest too deep.
    """
    visited: set[int] = set()
    labels: list[Any] = []
    levels: list[Iterator[Child]] = [iter([("", root)])]
    while levels:
        child = next(levels[-1], None)
        if child is None:
            levels.pop()
            if labels:
                labels.pop()
            continue
        label, node = child
        if isinstance(node, LEAVES) or _is_empty(node) or id(node) in visited:
            continue
        visited.add(id(node))
        if len(levels) > DEPTH:
            raise UnreadableError(f"its pickle nests over {DEPTH} deep")
        labels.append(label)
        yield labels, node
        levels.append(_children(node))


def spelled(labels: Iterable[Any]) -> str:
    """A name from labels; what the labels of a
    module's own dictionaries add is left out.
    """
    words: list[str] = []
    room = LONGEST
    for label in labels:
        if label == "" or label in UNNAMED:
            continue
        word = str(label)[:room]
        words.append(word)
        room -= len(word)
    return ".".join(words)


def _is_empty(node: Any) -> bool:
    if isinstance(node, list | tuple):
        return not node
    if isinstance(node, Dictionary):
        return not node.pairs
    return isinstance(node, Group) and not node.members


def _children(node: Any) -> Iterator[Child]:
    if isinstance(node, Stored):
        return
    if isinstance(node, list | tuple):
        yield from enumerate(node)
    elif isinstance(node, Dictionary):
        yield from _entries(node.pairs)
    elif isinstance(node, Group):
        yield from enumerate(node.members or ())
    elif is_tensor(node):
        for state in attached(node):
            yield "", state
    elif isinstance(node, Made):
        yield from _parts(node)


def _parts(node: Made) -> Iterator[Child]:
    """What an object was given.

    Its state is mostly a dictionary, or a pair of them.
    """
    yield "", node.arguments
    for state in node.states or ():
        if isinstance(state, tuple) and len(state) == 2:
            yield "", state[0]
            yield "", state[1]
        else:
            yield "", state
    yield from _entries(node.pairs)
    yield from enumerate(node.members or ())


def _entries(pairs: list[Child] | None) -> Iterator[Child]:
    """The values under their keys, and keys that are no plain values themselves."""
    for key, value in pairs or ():
        if isinstance(key, str | int):
            yield key, value
        else:
            yield "key", key
            yield "value", value
