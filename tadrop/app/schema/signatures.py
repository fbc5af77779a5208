"""What a class or a function takes, read from its source and not imported.

A mistake in a word is told at once: torch, which nearly every formula imports, takes
seconds. Annotations that say nothing about a word of a YAML (a stream, a callable) are
of any kind.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import NoneType
from typing import Any, Literal

from tadrop.app.places import importable
from tadrop.app.schema import guards, kinds

PLAIN: dict[str, Any] = {
    "bool": bool,
    "float": float,
    "int": int,
    "str": str,
    "dict": dict[str, Any],
    "list": list[Any],
    "None": NoneType,
}
LISTS = ("Sequence", "Iterable", "Collection", "list", "tuple")
MAPPINGS = ("Mapping", "dict")


@dataclass(frozen=True)
class Signature:
    """What a target takes by name.

    name:    the target's own
    kinds:   of every parameter, Any where its annotation is no plain kind
    usual:   the parameters that have a default
    is_open: whether it takes any other name too
    """

    name: str
    kinds: Mapping[str, Any]
    usual: frozenset[str] = frozenset()
    is_open: bool = False


@lru_cache
def signature(target: str) -> Signature | None:
    """The signature of a dotted path; None where no source tells it."""
    path, _, name = target.rpartition(".")
    module = source(path)
    node = module and module.defined.get(name)
    if module is None or node is None:
        return None
    if isinstance(node, ast.FunctionDef):
        return _of_function(module, node, name)
    if isinstance(node, ast.ClassDef):
        return _of_class(module, node, name)
    return None


@dataclass(frozen=True)
class Source:
    """A module's source text, parsed."""

    tree: ast.Module

    @cached_property
    def defined(self) -> dict[str, ast.AST]:
        """Classes, functions and assigned values at the top of the module, by name."""
        names: dict[str, ast.AST] = {}
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names[node.target.id] = node.value or node.annotation
        return names

    @cached_property
    def imported(self) -> dict[str, str]:
        """Where a name comes from, as the dotted path of what is imported."""
        paths: dict[str, str] = {}
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    paths[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return paths

    def find(self, name: str) -> "tuple[Source, ast.AST] | None":
        """Where a name of this module is defined, here or where it is imported from."""
        if name in self.defined:
            return self, self.defined[name]
        path, _, original = self.imported.get(name, "").rpartition(".")
        other = source(path) if path else None
        return other.find(original) if other else None


@lru_cache
def source(module: str) -> Source | None:
    """The source of a module, found without importing it; None where there is none."""
    file = _file(module)
    if file is None or file.suffix != ".py":
        return None
    return Source(ast.parse(file.read_text(encoding="utf-8")))


def _file(module: str) -> Path | None:
    package, *parts = importable(module).split(".")
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not parts:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder).joinpath(*parts)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def _of_function(module: Source, node: ast.FunctionDef, name: str) -> Signature:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    usual = {
        argument.arg
        for argument in positional[len(positional) - len(arguments.defaults) :]
    }
    for argument, default in zip(
        arguments.kwonlyargs, arguments.kw_defaults, strict=True
    ):
        if default is not None:
            usual.add(argument.arg)
    known: dict[str, Any] = {}
    for argument in (*positional, *arguments.kwonlyargs):
        if argument.arg != "self":
            known[argument.arg] = kind(module, argument.annotation)
    known = _guarded(module, known, node.body)
    return Signature(name, known, frozenset(usual), arguments.kwarg is not None)


def _of_class(module: Source, node: ast.ClassDef, name: str) -> Signature | None:
    """What a class takes: its __init__,
    or the fields of a dataclass and of its bases.
    """
    methods = {
        part.name: part for part in node.body if isinstance(part, ast.FunctionDef)
    }
    if "__init__" in methods:
        return _of_function(module, methods["__init__"], name)
    known: dict[str, Any] = {}
    usual: set[str] = set()
    for above in _bases(module, node):
        known |= above.kinds
        usual |= above.usual
    marks = map(ast.unparse, node.decorator_list)
    if not any("dataclass" in mark for mark in marks):
        # A base that has no source to read may take anything.
        return Signature(name, known, frozenset(usual), bool(node.bases) and not known)
    for field, annotation, has_default in _fields(node):
        known[field] = kind(module, annotation)
        if has_default:
            usual.add(field)
    if "__post_init__" in methods:
        known = _guarded(module, known, methods["__post_init__"].body)
    return Signature(name, known, frozenset(usual))


def _bases(module: Source, node: ast.ClassDef) -> Iterator[Signature]:
    """The signatures of a class's bases, as far as their sources are there."""
    for base in node.bases:
        place = module.find(base.id) if isinstance(base, ast.Name) else None
        if place is not None and isinstance(place[1], ast.ClassDef):
            above = _of_class(place[0], place[1], place[1].name)
            if above is not None:
                yield above


def _guarded(
    module: Source, known: dict[str, Any], body: list[ast.stmt]
) -> dict[str, Any]:
    """Parameters with what the guards of a body hold them to."""
    held = dict(known)
    for name, limit in guards.limits(body, _finder(module)):
        if name in held:
            held[name] = kinds.narrowed(held[name], limit)
    return held


def _finder(module: Source) -> guards.Find:
    """How the names of a module are found."""

    def find(name: str) -> tuple[guards.Find, ast.AST] | None:
        place = module.find(name)
        return place and (_finder(place[0]), place[1])

    return find


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr, bool]]:
    """Name, annotation, and whether there is a default, of a dataclass's fields."""
    for part in node.body:
        if not isinstance(part, ast.AnnAssign) or not isinstance(part.target, ast.Name):
            continue
        words = ast.unparse(part.value) if part.value else ""
        is_called = words.startswith("field(")
        if is_called and "init=False" in words:
            continue
        has_default = bool(words) and (not is_called or "default" in words)
        yield part.target.id, part.annotation, has_default


def kind(module: Source, annotation: ast.AST | None) -> Any:
    """The kind that an annotation says, or Any."""
    match annotation:
        case ast.Constant(None):
            return NoneType
        case ast.Constant(str(text)):
            return kind(module, ast.parse(text, mode="eval").body)
        case ast.Name(name):
            return _named(module, name)
        case ast.BinOp(left, ast.BitOr(), right):
            return kinds.union(kind(module, left), kind(module, right))
        case ast.Subscript(ast.Name(name), inner):
            return _subscripted(module, name, inner)
    return Any


def _named(module: Source, name: str) -> Any:
    if name in PLAIN:
        return PLAIN[name]
    place = module.find(name)
    if place is None or isinstance(place[1], ast.ClassDef | ast.FunctionDef):
        return Any
    return kind(*place)


def _subscripted(module: Source, name: str, inner: ast.expr) -> Any:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        return Literal[tuple(map(ast.literal_eval, parts))]  # pyright: ignore[reportInvalidTypeForm]  # of values
    if name == "Annotated":
        base, *remarks = parts
        return kinds.within(kind(module, base), *map(_remark, remarks))
    if name in LISTS:
        return list[kind(module, parts[0])]
    return dict[str, Any] if name in MAPPINGS else Any


def _remark(node: ast.expr) -> Any:
    """What stands beside a type in `Annotated`: text, or words to choose from."""
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.Subscript(ast.Name("Literal"), ast.Tuple(parts)):
            return Literal[tuple(map(ast.literal_eval, parts))]  # pyright: ignore[reportInvalidTypeForm]  # of values
    return None
