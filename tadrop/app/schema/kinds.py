"""What a setting may be: a kind, which is an annotation that pydantic checks strictly.

Kinds are written as plain annotations. Beside a type, `Annotated` may hold the words
there are to choose from, `Annotated[str, Literal["mean", "sum"]]`, or an interval in
which a number lies, `Annotated[float, "(0, 1]"]`: type checkers see the type alone, and
so does whoever calls the function with a word that it refuses itself.
"""

import re
from collections.abc import Mapping
from functools import lru_cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, TypeAdapter, ValidationError

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
INTERVAL = re.compile(r"([\[(])\s*(\S+)\s*,\s*(\S+)\s*([\])])")
NAMES = {float: "a number", int: "a whole number", bool: "true or false", str: "a word"}
PLURALS = {float: "numbers", int: "whole numbers", str: "words"}


def bounds(interval: str) -> list[Any]:
    """What pydantic checks of an interval such as "(0, 1]" or "[1, inf)"."""
    match = INTERVAL.fullmatch(interval)
    if match is None:
        return []
    opening, low, high, closing = match.groups()
    limits: list[Any] = []
    if low != "-inf":
        limits.append((Ge if opening == "[" else Gt)(_number(low)))
    if high != "inf":
        limits.append((Le if closing == "]" else Lt)(_number(high)))
    return limits


def _number(text: str) -> float:
    return float(text) if "." in text or "e" in text else int(text)


def within(kind: Any, *remarks: Any) -> Any:
    """A kind narrowed by what stands beside it in `Annotated`."""
    for remark in remarks:
        limits = bounds(remark) if isinstance(remark, str) else [remark]
        for limit in limits:
            kind = narrowed(kind, limit)
    return kind


def narrowed(kind: Any, limit: Any) -> Any:
    """A kind held to some words, or to a bound; of a union,
    the parts that it is for.
    """
    if get_origin(kind) in (Union, UnionType):
        parts = map(partial(narrowed, limit=limit), get_args(kind))
        return Union[tuple(parts)]  # noqa: UP007  # of values, not of names
    if get_origin(limit) is Literal:
        return limit if kind is str else kind
    plain, *held = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    is_bound = isinstance(limit, Ge | Gt | Le | Lt) and limit not in held
    return Annotated[kind, limit] if is_bound and plain in (int, float) else kind


def union(first: Any, second: Any) -> Any:
    """Either of two kinds; anything, where one of them is anything."""
    if first is Any or second is Any:
        return Any
    return Union[first, second]  # noqa: UP007  # of values, not of names


def of_value(value: Any) -> Any:
    """The kind of a value that a YAML declares, where no annotation says it."""
    if value is None or (isinstance(value, str) and value.startswith("${")):
        return Any
    if isinstance(value, Mapping):
        return dict[str, Any]
    if isinstance(value, list):
        elements = set(map(type, value))
        plain = elements.pop() if len(elements) == 1 else None
        return list[plain] if plain in PLURALS else list[Any]
    return type(value)


@lru_cache(maxsize=512)
def _checker(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=STRICT)


def complaint(kind: Any, value: Any) -> str | None:
    """What a value should be, where it is not of this kind; None where it is."""
    try:
        _checker(kind).validate_python(value)
    except ValidationError as error:
        for details in error.errors():
            reason = details.get("ctx", {}).get("error")
            if isinstance(reason, ValueError):
                return str(reason)
        return phrase(kind)
    return None


def choices(words: tuple[Any, ...]) -> str:
    """Words to choose from: a, b or c."""
    *others, last = map(str, words)
    return f"{', '.join(others)} or {last}" if others else last


def phrase(kind: Any) -> str:
    """A kind in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        base, *remarks = arguments
        return _limited(base, remarks)
    if origin is Literal:
        return choices(arguments)
    if origin in (Union, UnionType):
        return _either(arguments)
    if origin is list:
        return f"a list of {_plural(arguments[0])}"
    if kind in (NoneType, None):
        return "null"
    if origin is dict:
        return "a group of settings, not a value"
    return NAMES.get(kind, "something else")


def _limited(base: Any, remarks: list[Any]) -> str:
    """A kind and the limits of its values."""
    limits = []
    for remark in remarks:
        if isinstance(remark, str):
            return remark
        match remark:
            case Ge(low):
                limits.append(f"at least {low}")
            case Gt(low):
                limits.append(f"above {low}")
            case Le(high):
                limits.append(f"at most {high}")
            case Lt(high):
                limits.append(f"below {high}")
    if not limits:
        return phrase(base)
    joint = " of" if limits[0].startswith("at") else ""
    return f"{phrase(base)}{joint} {' and '.join(limits)}"


def _either(kinds: tuple[Any, ...]) -> str:
    """Kinds to choose from, null last."""
    words: list[str] = []
    for kind in kinds:
        if kind is NoneType:
            continue
        if get_origin(kind) is Literal:
            words += map(str, get_args(kind))
        else:
            words.append(phrase(kind))
    if NoneType not in kinds:
        return choices(tuple(words))
    if len(words) == 1 and " " in words[0]:
        return f"{words[0]}, or null"
    return choices((*words, "null"))


def _plural(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"some of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is Annotated:
        return _plural(get_args(kind)[0])
    return PLURALS.get(kind, "values")
