"""Pickled modules, whole: the parameters and buffers of a tree of inert objects.

Hostile files share dictionaries among objects, so each one is sorted once.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tadrop.storage.pickles.nodes import (
    LONGEST,
    Made,
    UnreadableError,
    by_name,
    is_dictionary,
    members_of,
)
from tadrop.storage.torch_files.tensors import is_tensor

DEPTH = 64  # module trees are not deeper
REPEATS = 20_000  # names that may come of modules which share their parts
SCRIPT = "__torch__."  # what names of TorchScript's classes begin with


class Place(NamedTuple):
    """A module of a tree: itself, what its names begin with, and how deep it is."""

    module: Made
    prefix: str
    level: int


class Named:
    """The values of dictionaries by their keys, each dictionary sorted once."""

    def __init__(self) -> None:
        self.known: dict[int, dict[str, Any]] = {}  # by the node's id

    def of(self, node: Any) -> dict[str, Any]:
        if id(node) not in self.known:
            self.known[id(node)] = by_name(node)
        return self.known[id(node)]

    def attribute(self, node: Made, name: str) -> Any:
        """An object's attribute, or None."""
        for part in self.states(node):
            if name in self.of(part):
                return self.of(part)[name]
        return None

    def states(self, node: Made) -> Iterator[Any]:
        """What an object was given as its state.

        That is one dictionary, or a pair of the object's attributes and its slots'
        values, either of which may be None.
        """
        for state in node.states or ():
            if isinstance(state, tuple) and len(state) == 2:
                yield from state
            else:
                yield state


class Modules:
    """The modules of one file."""

    def __init__(self, named: Named) -> None:
        self.named = named
        self.passing: dict[int, frozenset[str]] = {}  # names by their set's id

    def is_module(self, node: Any) -> bool:
        if not isinstance(node, Made):
            return False
        if node.maker.path.startswith(SCRIPT):
            return True
        holders = ("_parameters", "_modules")
        values = (self.named.attribute(node, name) for name in holders)
        return any(map(is_dictionary, values))

    def entries(self, root: Made) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters and buffers of a tree by name, and buffers that it does not keep.

        A module that stands in several places gives its tensors a name in each. Raises
        UnreadableError where the tree is deeper, or shares more, than any of a model.
        """
        kept: dict[str, Any] = {}
        transient: dict[str, Any] = {}
        visited: set[int] = set()
        repeats = 0
        waiting = [Place(root, "", 0)]
        while waiting:
            place = waiting.pop()
            if place.level > DEPTH:
                raise UnreadableError(f"modules nested deeper than {DEPTH}")
            if id(place.module) in visited:
                repeats += 1
            visited.add(id(place.module))
            for node in self._holders(place.module):
                if id(node) in visited:
                    repeats += len(self.named.of(node))
                visited.add(id(node))
            if repeats > REPEATS or len(place.prefix) > LONGEST:
                raise UnreadableError("modules that share their parts without end")
            passing = self._passing(place.module)
            for name, value in self._tensors(place.module):
                chosen = transient if name in passing else kept
                chosen[f"{place.prefix}{name}"] = value
            for name, child in self._children(place.module):
                prefix = f"{place.prefix}{name}."
                waiting.append(Place(child, prefix, place.level + 1))
        return kept, transient

    def _holders(self, module: Made) -> Iterator[Any]:
        """The dictionaries that a module's tensors and children stand in."""
        if module.maker.path.startswith(SCRIPT):
            yield from self.named.states(module)
        else:
            for name in ("_parameters", "_buffers", "_modules"):
                yield self.named.attribute(module, name)

    def _tensors(self, module: Made) -> Iterator[tuple[str, Any]]:
        """A module's own parameters and buffers.

        TorchScript does not tell them from other attributes: there, all tensors count.
        """
        if module.maker.path.startswith(SCRIPT):
            for name, value in self._script_attributes(module):
                if is_tensor(value):
                    yield name, value
            return
        yield from self._own(module, "_parameters")
        yield from self._own(module, "_buffers")

    def _children(self, module: Made) -> Iterator[tuple[str, Made]]:
        if module.maker.path.startswith(SCRIPT):
            attributes = self._script_attributes(module)
        else:
            attributes = self._own(module, "_modules")
        for name, value in attributes:
            if isinstance(value, Made) and self.is_module(value):
                yield name, value

    def _own(self, module: Made, holder: str) -> Iterator[tuple[str, Any]]:
        named: Mapping[str, Any] = self.named.of(self.named.attribute(module, holder))
        yield from named.items()

    def _script_attributes(self, module: Made) -> Iterator[tuple[str, Any]]:
        for state in self.named.states(module):
            yield from self.named.of(state).items()

    def _passing(self, module: Made) -> frozenset[str]:
        """The names of the buffers that a module's state dict leaves out."""
        node = self.named.attribute(module, "_non_persistent_buffers_set")
        if id(node) not in self.passing:
            names = (name for name in members_of(node) if isinstance(name, str))
            self.passing[id(node)] = frozenset(names)
        return self.passing[id(node)]
