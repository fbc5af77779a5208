"""What a function computes, as far as its own file says it: the name of its results in a
cache.
"""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def formula_hash(function: Callable[..., Any]) -> str:
    """A hash of a function's code, and of what it uses of its own file; 64 hex digits.

    Helpers, classes and constants of the file are part of it wherever the function
    comes to them. Names and places of files are not, nor are comments and docstrings:
    a formula may be moved, and only a change of what it computes is seen.
    """
    function = inspect.unwrap(function)
    root = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    definitions = _definitions(function)
    used = {"": [root]}
    waiting = list(_names(root))
    while waiting:
        name = waiting.pop()
        if name in definitions and name not in used:
            used[name] = definitions[name]
            for node in used[name]:
                waiting += _names(node)
    digest = hashlib.sha256()
    for name in sorted(used):
        for node in used[name]:
            digest.update(_code(node).encode())
    return digest.hexdigest()


def _definitions(function: Callable[..., Any]) -> dict[str, list[ast.stmt]]:
    """What stands at the top of a function's file, by name; imports do not count."""
    file = inspect.getsourcefile(function)
    assert file is not None, "inspect has found its source"
    definitions: dict[str, list[ast.stmt]] = {}
    for node in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        for name in _defined(node):
            definitions.setdefault(name, []).append(node)
    return definitions


def _defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement defines."""
    if isinstance(node, DOCUMENTED):
        yield node.name
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _names(target)
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        yield from _names(node.target)


def _names(node: ast.AST) -> Iterator[str]:
    """The names that stand in a piece of code."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id


def _code(node: ast.stmt) -> str:
    """A definition without its comments and docstrings, in one way of writing."""
    for part in ast.walk(node):
        if isinstance(part, DOCUMENTED) and ast.get_docstring(part) is not None:
            part.body = part.body[1:] or [ast.Pass()]
    return ast.unparse(node)
