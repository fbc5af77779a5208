"""What filters, lists and diffs look at: the leaves of a record, by dotted path.

A filter is path=value, path!=value, path<value or path>value; its path may be shortened
to its end, its value may use * and ?.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import fmean
from typing import Any

from tadrop.errors import TadropError

FILTER = re.compile(r"(?P<path>[\w.\-/ ]+?)(?P<sign>!=|=|<|>)(?P<value>.*)", re.DOTALL)

Record = Mapping[str, Any]


def leaves(node: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Everything in a node that is no mapping with something in it, by dotted path."""
    values: dict[str, Any] = {}
    for name, child in node.items():
        if isinstance(child, Mapping) and child:
            values |= leaves(child, f"{before}{name}.")
        else:
            values[f"{before}{name}"] = child
    return values


def average(one: Record) -> float:
    """The mean of the task scores, in percent."""
    return 100 * fmean([score["value"] for score in one["scores"]])


def facts(one: Record) -> dict[str, Any]:
    """Every leaf of a record by dotted path.

    Its scores become one accuracy per task, in percent, and an average.
    """
    others = {name: node for name, node in one.items() if name != "scores"}
    return leaves(others) | score_facts(one["scores"])


def score_facts(scores: Sequence[Record]) -> dict[str, float]:
    """One accuracy per task, in percent, and their average."""
    values: dict[str, float] = {}
    for score in scores:
        values[f"score.{score['task']}"] = 100 * score["value"]
    return values | {"average": average({"scores": scores})}


def word(value: Any) -> str:
    """A value as it is written in a filter."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Filter:
    """One condition on the facts of a record.

    passes: whether a value at the end of the path fulfils it; for != whether it fulfils
            the opposite
    """

    path: str
    sign: str
    passes: Callable[[Any], bool]

    def concerns(self, name: str) -> bool:
        """Whether a dotted path is, or ends in, the filter's."""
        if self.path == "key":
            return name == "key"
        return f".{name}".endswith(f".{self.path}")

    def leads_to(self, name: str) -> bool:
        """Whether the filter's path leads to a fact, or to a node that holds it."""
        return f".{self.path}." in f".{name}."

    def matches(self, values: Mapping[str, Any]) -> bool:
        """Whether the facts of a record pass."""
        here = [values[name] for name in values if self.concerns(name)]
        fulfilled = any(map(self.passes, here))
        if self.sign == "!=":
            return not fulfilled and any(map(self.leads_to, values))
        return fulfilled


def parse(text: str) -> Filter:
    """Reads a filter. Raises TadropError if it is none."""
    match = FILTER.fullmatch(text)
    if match is None:
        raise TadropError(
            f"{text!r} is not a filter; "
            "write path=value, path!=value, path<value or path>value"
        )
    path, sign, value = match.group("path", "sign", "value")
    if sign in "<>":
        return Filter(path, sign, _beyond(sign, _number(value, text)))
    if path == "key":
        return Filter(path, sign, lambda leaf: str(leaf).startswith(value))
    return Filter(path, sign, lambda leaf: fnmatchcase(word(leaf), value))


def _beyond(sign: str, limit: float) -> Callable[[Any], bool]:
    """Whether a number is below the limit, or above it."""

    def passes(leaf: Any) -> bool:
        if isinstance(leaf, bool) or not isinstance(leaf, int | float):
            return False
        return leaf < limit if sign == "<" else leaf > limit

    return passes


def _number(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise TadropError(f"{text!r}: {value!r} is not a number") from None
