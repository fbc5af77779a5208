"""How much each expert counts: weights, and what a sparsifier keeps, by task and tensor.

A rule is a number; a gradient, a list of numbers over depth; or a list of
{tensors: PATTERN, value: number or gradient}, of which the first whose pattern fits a
tensor's name counts. A gradient v0 .. v(m-1) is at layer l of L linear between the
values beside (m-1) l / (L-1), as in mergekit; tensors of no layer take v0. Encoder and
decoder count their own layers.

Weights multiply task vectors after they are cut; formulas that take `weights` are then
told them, and the others are refused: nothing defines what a weight is there.
"""

import fnmatch
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from tadrop.merging.method import Method
from tadrop.protocols.streams import Cut, Cuts, Sparsifier, Stream
from tadrop.types import TadropError, Taus, Vector, check_keep
from tadrop.vectors.derived import Derived

# One value a task, for every tensor by name.
Table = Mapping[str, Sequence[float]]


def table(
    what: str,
    rules: Mapping[str, Any],
    tasks: Sequence[str],
    names: Sequence[str],
    usual: float = 1.0,
) -> dict[str, list[float]]:
    """The value of every tensor and task.

    what:  the setting, for errors
    usual: of a task or tensor that no rule is about
    Raises TadropError for what is no number.
    """
    depth = _depths(names)
    values: dict[str, list[float]] = {}
    for name in names:
        values[name] = []
    for task in tasks:
        rule = rules.get(task, usual)
        for name in names:
            values[name].append(_value(what, rule, name, depth.get(name), usual))
    return values


def check_rules(what: str, rules: Mapping[str, Any] | None, stream: Stream) -> None:
    """Raises TadropError for a task that there is not,
    and a pattern that fits nothing.
    """
    for task, rule in (rules or {}).items():
        if task not in stream.tasks:
            raise TadropError(
                f"{what} names {task!r}; the experts are {', '.join(stream.tasks)}"
            )
        _check_fits(what, rule, stream.names)
    if rules:
        table(what, rules, stream.tasks, stream.names)


def check_rule(what: str, rule: Any, names: Sequence[str]) -> None:
    """The same for one rule that is about no task; None is no rule."""
    if rule is not None:
        _check_fits(what, rule, names)
        by_tensor(what, rule, names, 0.0)


def by_tensor(
    what: str, rule: Any, names: Sequence[str], usual: float
) -> dict[str, float]:
    """The value that a rule has for every tensor; see table."""
    values: dict[str, float] = {}
    for name, row in table(what, {"": rule}, ("",), names, usual).items():
        values[name] = row[0]
    return values


def _check_fits(what: str, rule: Any, names: Sequence[str]) -> None:
    if isinstance(rule, Sequence) and not isinstance(rule, str):
        for entry in rule:
            if isinstance(entry, Mapping):
                for word in entry:
                    if word not in ("tensors", "value"):
                        raise TadropError(
                            f"{what}: a rule has no {word!r}; it has tensors and value"
                        )
                pattern = str(entry.get("tensors", "*"))
                if not fnmatch.filter(names, pattern):
                    raise TadropError(f"{what}: no merged tensor is called {pattern!r}")


def _value(what: str, rule: Any, name: str, depth: float | None, usual: float) -> float:
    if isinstance(rule, Sequence) and not isinstance(rule, str):
        if all(isinstance(entry, Mapping) for entry in rule) and rule:
            for entry in rule:
                if fnmatchcase(name, str(entry.get("tensors", "*"))):
                    return _value(what, entry.get("value"), name, depth, usual)
            return usual
        if not rule:
            raise TadropError(f"{what}: a gradient over depth has at least one number")
        return _gradient(list(map(partial(_number, what), rule)), depth)
    return _number(what, rule)


def _number(what: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not isfinite(value):
        raise TadropError(
            f"{what} has {value!r}; it is a number, a list of numbers over depth, or a "
            "list of {tensors: PATTERN, value: ...}"
        )
    return float(value)


def _gradient(values: Sequence[float], depth: float | None) -> float:
    place = (len(values) - 1) * (depth or 0.0)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    share = place - low
    return (1 - share) * values[low] + share * values[high]


def _depths(names: Sequence[str]) -> dict[str, float]:
    """Where in its stack of layers a tensor stands, 0 to 1; not for tensors of none."""
    layers: dict[str, tuple[str, int]] = {}
    last: dict[str, int] = {}
    for name in names:
        words = name.split(".")
        for index, word in enumerate(words):
            if word.isdigit():
                stack, layer = ".".join(words[:index]), int(word)
                layers[name] = stack, layer
                last[stack] = max(last.get(stack, 0), layer)
                break
    depths: dict[str, float] = {}
    for name, (stack, layer) in layers.items():
        depths[name] = layer / last[stack] if last[stack] else 0.0
    return depths


@dataclass(frozen=True)
class Weighted(Derived):
    """Task vectors multiplied by a weight for every task and tensor."""

    weights: Table

    def _of(self, name: str) -> Tensor:
        return torch.tensor(self.weights[name], dtype=torch.float32, device=self.device)

    def taus(self, name: str, start: int = 0, stop: int | None = None) -> Taus:
        """See Stream."""
        taus = self.source.taus(name, start, stop)
        factors = self._of(name).view(-1, *[1] * (taus.dim() - 1))
        return taus.mul_(factors)

    def vector(self, task: int, name: str | None) -> Vector:
        """See Stream."""
        source = self.source.vector(task, name)
        names = self.names if name is None else (name,)

        def pieces() -> Iterator[Tensor]:
            for one in names:
                weight = self.weights[one][task]
                for piece in self.source.vector(task, one).pieces():
                    yield piece * weight

        return replace(source, pieces=pieces)


def check_weights(row: str, method: Method) -> None:
    """Raises TadropError for a row whose formula says nothing about weights."""
    if "weights" not in inspect.signature(method.merge).parameters:
        raise TadropError(
            f"merge={row} has no weights: its formula does not define what they are; "
            "average, task_arithmetic, ties, dare, della, breadcrumbs and magmax do"
        )


@dataclass(frozen=True)
class Varied:
    """A sparsifier that keeps another fraction of each task and tensor."""

    rule: Any
    keeps: Table
    tasks: tuple[str, ...]

    @property
    def scope(self) -> str:
        return self.rule.scope

    @property
    def by_rows(self) -> bool:
        return self.rule.by_rows

    def plan(self, vector: Vector) -> Cut:
        """See Sparsifier."""
        task = self.tasks.index(vector.task)
        keep = self.keeps[vector.name][task]
        return replace(self.rule, keep=keep).plan(vector)

    @property
    def following(self) -> Sparsifier | None:
        return self.rule.following

    def stand_in(self, cuts: Cuts) -> Sparsifier | None:
        """See Sparsifier."""
        return None


def varied(rule: Any, rules: Mapping[str, Any], stream: Stream) -> Varied:
    """The rule with what it keeps by task and tensor.

    Raises TadropError for a rule that keeps no fraction, for fractions outside (0, 1],
    and for other values within a task where one cut covers more than a tensor.
    """
    usual = vars(rule).get("keep")
    if usual is None:
        raise TadropError("model.density: this row's sparsifier keeps no set fraction")
    keeps = table("model.density", rules, stream.tasks, stream.names, usual)
    for values in keeps.values():
        for value in values:
            _check_density(value)
    if rule.scope != "tensor":
        per_task = set[tuple[float, ...]]()
        for values in keeps.values():
            per_task.add(tuple(values))
        if len(per_task) > 1:
            raise TadropError(
                f"model.density: this row's sparsifier cuts a whole {rule.scope} at "
                "once; give each expert one number"
            )
        keeps = _Everywhere(next(iter(per_task)))
    return Varied(rule, keeps, stream.tasks)


def _check_density(value: float) -> None:
    try:
        check_keep(value)
    except TadropError as error:
        raise TadropError(f"model.density: {error}") from error


class _Everywhere(dict[str, Sequence[float]]):
    """The same values whatever the name."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.values_ = values

    def __missing__(self, name: str) -> Sequence[float]:
        return self.values_
