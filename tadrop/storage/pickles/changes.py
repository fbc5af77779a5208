"""What programs of pickles do to nodes: they add to them, and name what made them."""

from typing import Any

from tadrop.storage.pickles.nodes import (
    LONGEST,
    Dictionary,
    Global,
    Group,
    Made,
    UnreadableError,
)

STATES = 4  # that an object may be given


def paired(values: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(values[::2], values[1::2], strict=True))


def extend(node: Any, values: list[Any]) -> None:
    if isinstance(node, list):
        node.extend(values)
    elif isinstance(node, Made | Group):
        node.members = node.members or []
        node.members.extend(values)
    else:
        raise UnreadableError(f"its pickle appends to {type(node).__name__}")


def set_items(node: Any, pairs: list[tuple[Any, Any]]) -> None:
    if not isinstance(node, Dictionary | Made):
        raise UnreadableError(f"its pickle sets items of {type(node).__name__}")
    node.pairs = node.pairs or []
    node.pairs.extend(pairs)


def set_state(node: Any, state: Any) -> None:
    if not isinstance(node, Made):
        raise UnreadableError(
            f"its pickle changes {type(node).__name__}, which no torch does"
        )
    node.states = node.states or []
    if len(node.states) == STATES:
        raise UnreadableError("its pickle changes an object over and over")
    node.states.append(state)


def named_global(module: Any, name: Any) -> Global:
    if not isinstance(module, str) or not isinstance(name, str):
        raise UnreadableError("a class of its pickle has no name")
    if len(module) + len(name) > LONGEST:
        raise UnreadableError(f"a name of its pickle is over {LONGEST} characters long")
    return Global(f"{module}.{name}")


def made(maker: Any, arguments: Any) -> Made:
    if not isinstance(maker, Global):
        raise UnreadableError(
            f"its pickle calls {type(maker).__name__}, which is no class"
        )
    if not isinstance(arguments, tuple):
        raise UnreadableError("its pickle calls a class without arguments")
    return Made(maker, arguments)
