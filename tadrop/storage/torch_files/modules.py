"""Pickled modules, whole: the parameters and buffers of a tree of inert objects."""

from typing import Any, NamedTuple

from tadrop.storage.pickles.nodes import (
    Made,
    UnreadableError,
    attributes,
    by_name,
    members_of,
    pairs_of,
)
from tadrop.storage.torch_files.tensors import is_tensor
from tadrop.storage.torch_files.walk import LONGEST

DEPTH = 64  # module trees are not deeper
REPEATS = 20_000  # names that may come of modules which share their parts
SCRIPT = "__torch__."  # what names of TorchScript's classes begin with


class Parts(NamedTuple):
    """What a module holds by itself.

    transient: buffers that its state dict leaves out
    """

    tensors: dict[str, Any]
    transient: dict[str, Any]
    children: dict[str, Made]


class Modules:
    """The modules of one file, whose parts are sorted once, however they are shared."""

    def __init__(self) -> None:
        self.known: dict[int, Parts | None] = {}  # by the object's id

    def is_module(self, node: Any) -> bool:
        return isinstance(node, Made) and self._parts(node) is not None

    def entries(self, root: Made) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters and buffers of a tree by name, and buffers that it does not keep.

        A module that stands in several places gives its tensors a name in each. Raises
        UnreadableError where the tree is deeper, or shares more, than any of a model.
        """
        kept: dict[str, Any] = {}
        transient: dict[str, Any] = {}
        visited: set[int] = set()
        repeats = 0
        waiting = [(root, "", 0)]
        while waiting:
            module, prefix, level = waiting.pop()
            parts = self._parts(module)
            if parts is None:
                continue
            if level > DEPTH:
                raise UnreadableError(f"modules nested deeper than {DEPTH}")
            if id(module) in visited:
                repeats += 1 + sum(map(len, parts))
            if repeats > REPEATS or len(prefix) > LONGEST:
                raise UnreadableError("modules that share their parts without end")
            visited.add(id(module))
            for name, value in parts.tensors.items():
                kept[f"{prefix}{name}"] = value
            for name, value in parts.transient.items():
                transient[f"{prefix}{name}"] = value
            for name, child in parts.children.items():
                waiting.append((child, f"{prefix}{name}.", level + 1))
        return kept, transient

    def _parts(self, node: Made) -> Parts | None:
        """A module's parts; None for other objects."""
        if id(node) not in self.known:
            self.known[id(node)] = _sorted_parts(node)
        return self.known[id(node)]


def _sorted_parts(node: Made) -> Parts | None:
    own = attributes(node)
    if node.maker.path.startswith(SCRIPT):
        return _script_parts(own)
    parameters = own.get("_parameters")
    children = own.get("_modules")
    if pairs_of(parameters) is None and pairs_of(children) is None:
        return None
    tensors = by_name(parameters)
    transient: dict[str, Any] = {}
    passing = [n for n in members_of(own.get("_non_persistent_buffers_set")) if n]
    names = {name for name in passing if isinstance(name, str)}
    for name, value in by_name(own.get("_buffers")).items():
        if name in names:
            transient[name] = value
        else:
            tensors[name] = value
    return Parts(tensors, transient, _objects(by_name(children)))


def _script_parts(own: dict[str, Any]) -> Parts:
    """TorchScript does not tell parameters from other attributes: all tensors count."""
    tensors = {name: value for name, value in own.items() if is_tensor(value)}
    children: dict[str, Made] = {}
    for name, value in _objects(own).items():
        if value.maker.path.startswith(SCRIPT):
            children[name] = value
    return Parts(tensors, {}, children)


def _objects(named: dict[str, Any]) -> dict[str, Made]:
    return {n: value for n, value in named.items() if isinstance(value, Made)}
