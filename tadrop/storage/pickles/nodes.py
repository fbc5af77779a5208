"""What a pickle is made of when nothing in it is executed: inert nodes.

Numbers, texts, lists and tuples stand for themselves. A dictionary is kept as its
pairs, in order and never hashed, since a hash of a hostile key may take for ever. An
object is kept as the name of what would have made it, and what it was given.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

Pair = tuple[Any, Any]  # of a key and a value


class UnreadableError(Exception):
    """Why a file is not read. Whoever knows the file's name makes it a TadropError."""


class UnfitError(UnreadableError):
    """Why a file that was read holds no state dict that can be taken in full."""


class Global:
    """The name of a class or function, with its module, that is never looked up."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class Dictionary:
    """A dictionary as its pairs; of two pairs with one key the later one counts."""

    __slots__ = ("pairs",)

    def __init__(self) -> None:
        self.pairs: list[Pair] | None = None  # empty ones take no room


class Group:
    """A set as the list of what was put into it."""

    __slots__ = ("members",)

    def __init__(self) -> None:
        self.members: list[Any] | None = None


class Made:
    """An object that would have been made by calling something.

    maker, arguments: what would have been called, and with what
    states:           what it would have been given as its state, mostly one dictionary
    pairs, members:   what would have been set by key, appended or added
    """

    __slots__ = ("arguments", "maker", "members", "pairs", "states")

    def __init__(self, maker: Global, arguments: tuple) -> None:
        self.maker = maker
        self.arguments = arguments
        self.states: list[Any] | None = None
        self.pairs: list[Pair] | None = None
        self.members: list[Any] | None = None


class Stored(NamedTuple):
    """A storage that the file holds, or a run of its entries.

    key:     the storage's name in the file
    dtype:   of its entries; bytes where the storage has no type
    entries: of the whole storage
    start:   the run's first entry
    length:  the run's entries
    """

    key: str
    dtype: torch.dtype
    entries: int
    start: int
    length: int

    @property
    def nbytes(self) -> int:
        """Of the whole storage."""
        return self.entries * self.dtype.itemsize


def pairs_of(node: Any) -> list[Pair] | None:
    """The pairs of a dictionary, of OrderedDict and its like; None for anything else."""
    if isinstance(node, Dictionary):
        return node.pairs or []
    if not isinstance(node, Made):
        return None
    if node.pairs:
        return node.pairs
    if node.maker.path.rpartition(".")[2] not in ("OrderedDict", "defaultdict"):
        return None
    # Python 2 gives its pairs to the constructor.
    listed = node.arguments[0] if node.arguments else None
    return list(_listed_pairs(listed))


def _listed_pairs(listed: Any) -> Iterator[Pair]:
    if isinstance(listed, list):
        for entry in listed:
            if isinstance(entry, list | tuple) and len(entry) == 2:
                yield entry[0], entry[1]


def by_name(node: Any) -> dict[str, Any]:
    """The values of a dictionary whose keys are texts, and none of anything else."""
    named: dict[str, Any] = {}
    for key, value in pairs_of(node) or ():
        if isinstance(key, str):
            named[key] = value
    return named


def attributes(node: Made) -> dict[str, Any]:
    """An object's attributes, of what a pickle gives it as its state.

    A state is one dictionary, or a pair of the object's attributes and its slots'
    values, either of which may be None.
    """
    named: dict[str, Any] = {}
    for state in node.states or ():
        parts = (state,)
        if isinstance(state, tuple) and len(state) == 2:
            parts = state
        for part in parts:
            named |= by_name(part)
    return named


def members_of(node: Any) -> list[Any]:
    """The members of a list, a tuple or a set, and none of anything else."""
    if isinstance(node, list | tuple):
        return list(node)
    if isinstance(node, Group):
        return node.members or []
    if isinstance(node, Made) and node.maker.path.endswith(".set") and node.arguments:
        return members_of(node.arguments[0])
    return []
