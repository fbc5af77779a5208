"""Filters of records: `config.tadrop=null`, `average>80`, `merge.name=ties*`.

A filter is path=value, path!=value, path<value or path>value over what `facts` names.
Paths may be shortened to their end, values may use * and ?.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from statistics import mean
from typing import Any

from tadrop.errors import TadropError
from tadrop.results.record import Record
from tadrop.results.row import accuracies, leaves

FILTER = re.compile(r"(?P<path>[\w.\-/ ]+?)(?P<sign>!=|=|<|>)(?P<value>.*)")


def average(one: Record) -> float:
    """The mean of the task scores, in percent."""
    return 100 * mean(score["value"] for score in one["scores"])


def facts(one: Record) -> dict[str, Any]:
    """What filters and diffs look at, by dotted path.

    It is every leaf of a record but the scores, which become one accuracy per task and
    an average.
    """
    rest = {name: node for name, node in one.items() if name != "scores"}
    values = leaves(rest)
    for task, accuracy in accuracies(one).items():
        values[f"score.{task}"] = accuracy
    return values | {"average": average(one)}


def matches(one: Record, filters: Sequence[str]) -> bool:
    """Whether a record passes every filter."""
    values = facts(one)
    return all(_passes(values, text) for text in filters)


def _passes(values: Mapping[str, Any], text: str) -> bool:
    """Whether the values of a record pass one filter."""
    match = FILTER.fullmatch(text)
    if match is None:
        raise TadropError(
            f"{text!r} is not a filter; "
            "write path=value, path!=value, path<value or path>value"
        )
    path, sign, value = match.group("path", "sign", "value")
    if sign in "<>":
        return _is_beyond(values, path, sign, _number(value, text))
    if path == "key":
        same = str(values["key"]).startswith(value)
    else:
        same = any(fnmatchcase(word(leaf), value) for leaf in _ending(values, path))
    return same if sign == "=" else not same and _has(values, path)


def _is_beyond(values: Mapping[str, Any], path: str, sign: str, limit: float) -> bool:
    """Whether a number at the end of a path is below the limit, or above it."""
    for leaf in _ending(values, path):
        if isinstance(leaf, bool) or not isinstance(leaf, int | float):
            continue
        beyond = leaf < limit if sign == "<" else leaf > limit
        if beyond:
            return True
    return False


def _ending(values: Mapping[str, Any], path: str) -> Iterator[Any]:
    """The values whose path is, or ends in, this one."""
    for name, leaf in values.items():
        if f".{name}".endswith(f".{path}"):
            yield leaf


def _has(values: Mapping[str, Any], path: str) -> bool:
    """Whether a path leads to a value, or to a node that holds some."""
    return any(f".{path}." in f".{name}." for name in values)


def _number(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise TadropError(f"{text!r}: {value!r} is not a number") from None


def word(value: Any) -> str:
    """A value as it is written in a filter."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
