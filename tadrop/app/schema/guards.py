"""What a function refuses, read from the guards that its body or its class begins with.

Formulas and rules say themselves which words and numbers they take:

    if by not in ("row", "tensor"):
        raise TadropError(...)
    if not 0 < ratio <= 1:
        raise TadropError(...)
    check_norm(self.norm)

The same words are refused from here before anything is imported, and nobody lists them
twice. A guard of another form is passed over: it speaks when the function is called.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt

# What a name of a module stands for, and how names are found where that is written.
Find = Callable[[str], "tuple[Find, ast.AST] | None"]
Limit = tuple[str, Any]  # a parameter, and the words or the bound that it is held to

LESS = (ast.Lt, ast.LtE)


def limits(
    body: Sequence[ast.stmt], find: Find, bound: Mapping[str, ast.AST] | None = None
) -> Iterator[Limit]:
    """What the guards among these statements hold parameters to.

    bound: what stands for the parameters, where the statements are of a function that
    another one calls
    """
    names = bound or {}
    for statement in body:
        match statement:
            case ast.If(test, [ast.Raise()], []):
                for refused in _alternatives(test):
                    yield from _held(refused, find, names)
            case ast.Expr(ast.Call(ast.Name(name), arguments)):
                yield from _called(name, arguments, find, names)


def _alternatives(test: ast.expr) -> list[ast.expr]:
    return (
        test.values
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or)
        else [test]
    )


def _held(
    refused: ast.expr, find: Find, names: Mapping[str, ast.AST]
) -> Iterator[Limit]:
    """What a parameter is held to by a test that leads to a refusal."""
    match refused:
        case ast.Compare(left, [ast.NotIn()], [right]):
            name, words = _name(left, names), _words(right, find, names)
            if name and words:
                yield name, Literal[words]  # pyright: ignore[reportInvalidTypeForm]  # of values
        case ast.UnaryOp(ast.Not(), ast.Compare(left, operators, rights)):
            yield from _chained([left, *rights], operators, names)
        case ast.Compare(left, [ast.Lt()], [right]):
            yield from _chained([right, left], [ast.LtE()], names)
        case ast.Compare(left, [ast.LtE()], [right]):
            yield from _chained([right, left], [ast.Lt()], names)


def _chained(
    parts: Sequence[ast.expr],
    operators: Sequence[ast.cmpop],
    names: Mapping[str, ast.AST],
) -> Iterator[Limit]:
    """The bounds of every parameter in a chain such as 0 < low < high <= 1."""
    if not all(isinstance(operator, LESS) for operator in operators):
        return
    for place, part in enumerate(parts):
        name = _name(part, names)
        if not name:
            continue
        low, high = _number(parts[0]), _number(parts[-1])
        if low is not None:
            yield name, (Gt if _strict(operators[:place]) else Ge)(low)
        if high is not None:
            yield name, (Lt if _strict(operators[place:]) else Le)(high)


def _strict(operators: Sequence[ast.cmpop]) -> bool:
    return any(isinstance(operator, ast.Lt) for operator in operators)


def _called(
    name: str, arguments: Sequence[ast.expr], find: Find, names: Mapping[str, ast.AST]
) -> Iterator[Limit]:
    """The limits that a function sets which is called with parameters:
    check_keep(x).
    """
    place = find(name) if "check" in name else None
    there, function = place or (find, None)
    if not isinstance(function, ast.FunctionDef):
        return
    parameters = map(attrgetter("arg"), function.args.args)
    bound: dict[str, ast.AST] = {}
    for parameter, argument in zip(parameters, arguments, strict=False):
        stands = names.get(argument.id) if isinstance(argument, ast.Name) else None
        bound[parameter] = stands or argument
    yield from limits(function.body, there, bound)


def _name(node: ast.AST, names: Mapping[str, ast.AST]) -> str:
    """The parameter that is meant; "" for anything else."""
    if isinstance(node, ast.Name) and node.id in names:
        return _name(names[node.id], {})
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name("self"), name):
            return name
    return ""


def _number(node: ast.AST) -> float | None:
    match node:
        case ast.Constant(int() | float() as value):
            return value
    return None


def _words(node: ast.AST, find: Find, names: Mapping[str, ast.AST]) -> tuple[str, ...]:
    """The words of a tuple or of a dictionary's keys, written out or named."""
    if isinstance(node, ast.Name):
        if node.id in names:
            return _words(names[node.id], find, {})
        place = find(node.id)
        return _words(place[1], place[0], {}) if place else ()
    parts: Sequence[ast.expr | None] = ()
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        parts = node.elts
    elif isinstance(node, ast.Dict):
        parts = node.keys
    words = [part.value for part in parts if isinstance(part, ast.Constant)]
    return tuple(map(str, words)) if len(words) == len(parts) else ()
