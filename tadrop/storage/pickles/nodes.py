"""What a pickle is made of when nothing in it is executed: inert nodes.

Numbers, texts, lists and tuples stand for themselves. A dictionary is kept as its
pairs, in order and never hashed, since a hash of a hostile key may take for ever. An
object is kept as the name of what would have made it, and what it was given.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

LONGEST = 1024  # characters of a name, or of a number written as text

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
    dtype: "torch.dtype"
    entries: int
    start: int
    length: int

    @property
    def nbytes(self) -> int:
        """Of the whole storage."""
        return self.entries * self.dtype.itemsize


def is_dictionary(node: Any) -> bool:
    """Whether it is a dictionary, or OrderedDict or its like."""
    if isinstance(node, Made):
        if node.pairs:
            return True
        return node.maker.path.rpartition(".")[2] in ("OrderedDict", "defaultdict")
    return isinstance(node, Dictionary)


def pairs_of(node: Any) -> list[Pair]:
    """The pairs of a dictionary, of OrderedDict and its like; none of anything else."""
    if not is_dictionary(node):
        return []
    if node.pairs or isinstance(node, Dictionary):
        return node.pairs or []
    # Python 2 gives its pairs to the constructor.
    listed = node.arguments[0] if node.arguments else None
    return list(_listed_pairs(listed))


def _listed_pairs(listed: Any) -> Iterator[Pair]:
    if isinstance(listed, list):
        for entry in listed:
            if isinstance(entry, list | tuple) and len(entry) == 2:
                yield entry[0], entry[1]


def by_name(node: Any) -> dict[str, Any]:
    """The values of a dictionary whose keys are names, and none of anything else."""
    named: dict[str, Any] = {}
    for key, value in pairs_of(node):
        if isinstance(key, str) and len(key) <= LONGEST:
            named[key] = value
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
