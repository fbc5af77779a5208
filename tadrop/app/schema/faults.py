"""What is wrong with a composed configuration: each fault names a key and its value."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from tadrop.app.schema import kinds
from tadrop.app.schema.configuration import (
    EVERYWHERE,
    LEAST,
    OPEN,
    SCHEMAS,
    STABLE,
    TARGETS,
    Row,
)
from tadrop.app.schema.signatures import Signature, signature

MISSING = "???"
REFERENCE = re.compile(r"\$\{([\w.]+)\}")
UNKNOWN = object()  # what the YAML files say is not known
ABSENT = object()  # they do not have this place
KNOBS = "merge.knobs."
HYDRA = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Fault:
    """A word that is wrong.

    may_be:  what the value may be; "" where the key itself is unknown
    owner:   whose key it would be, where it is unknown
    """

    key: str
    value: Any
    may_be: str = ""
    owner: str = ""


@dataclass(frozen=True)
class Place:
    """A value in the tree.

    value: with every reference followed; raw: as it is written
    declared: what the YAML files say at this place, or ABSENT, or UNKNOWN
    """

    key: str
    value: Any
    raw: Any
    declared: Any

    def below(self, name: str) -> "Place":
        """The place of a child."""
        key = f"{self.key}.{name}" if self.key else name
        raw = _child(self.raw, name)
        return Place(key, self.value[name], raw, _child(self.declared, name))

    @property
    def is_absent(self) -> bool:
        """Whether the YAML files are known to lack this place."""
        return self.declared is ABSENT


def _child(node: Any, name: str) -> Any:
    """What stands below a node."""
    if node is UNKNOWN:
        return UNKNOWN
    return node.get(name, ABSENT) if isinstance(node, Mapping) else ABSENT


def faults(config: Config, raw: Config, declared: Any, name: str) -> Iterator[Fault]:
    """What is wrong, the words of a command line before what follows from them.

    config:   with every reference followed, and `???` where a value is missing
    raw:      as it is written
    declared: as the YAML files say it, without a command's words; UNKNOWN if not known
    name:     of the schema
    """
    yield from _of_words(SCHEMAS[name], Place("", config, raw, declared))
    yield from twins(config)


def _of_words(schema: type[BaseModel], place: Place) -> Iterator[Fault]:
    """The faults of words that stand together in a schema."""
    fields = schema.model_fields
    for name in place.value:
        if name not in fields:
            child = place.below(name)
            yield Fault(child.key, child.value, owner=place.key)
    for name, field in fields.items():
        if name in place.value:
            annotation = field.rebuild_annotation()
            yield from _of_value(annotation, place.below(name))
        elif field.is_required():
            key = f"{place.key}.{name}" if place.key else name
            yield Fault(key, None, _may_be(field.rebuild_annotation()))


def _may_be(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kinds.phrase(dict[str, Any])
    return kinds.phrase(kind)


def _of_value(kind: Any, place: Place) -> Iterator[Fault]:
    """The faults of a value and of all below it."""
    value = place.value
    if value == MISSING:
        yield Fault(place.key, value, "needed")
        return
    kind = EVERYWHERE.get(place.key, kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if isinstance(value, Mapping):
            yield from _of_words(kind, place)
        else:
            yield Fault(place.key, value, _may_be(kind))
        return
    is_knob = place.key.startswith(KNOBS)  # checked where the row uses it
    if kind is Any and place.declared not in (UNKNOWN, ABSENT) and not is_knob:
        kind = kinds.of_value(place.declared)
    least = LEAST.get(place.key.rpartition(".")[2])
    if least is not None:
        kind = kinds.narrowed(kind, least)
    blamed = _referred(place)
    may_be = kinds.complaint(kind, value)
    if may_be is not None:
        yield Fault(blamed or place.key, value, may_be)
    elif isinstance(value, Mapping) and not blamed:
        yield from _of_mapping(place)


def _referred(place: Place) -> str | None:
    """The key that a value is taken from; None for one that stands where it is.

    A reference that begins with dots counts them from its own place.
    """
    match = REFERENCE.fullmatch(place.raw) if isinstance(place.raw, str) else None
    if match is None:
        return None
    name = match.group(1).lstrip(".")
    dots = len(match.group(1)) - len(name)
    above = place.key.split(".")[:-dots] if dots else []
    return ".".join([*above, name])


def _of_mapping(place: Place) -> Iterator[Fault]:
    """The faults of a mapping: of a target's settings, or of words that a YAML has."""
    target = place.value.get("_target_", TARGETS.get(place.key))
    takes = signature(target) if isinstance(target, str) else None
    if takes is not None:
        yield from _of_target(takes, place)
        return
    if place.key.startswith("references.") and place.key.count(".") == 1:
        yield from _of_words(Row, place)
        return
    is_open = target is not None or bool({*OPEN} & {*place.key.split(".")})
    for name in place.value:
        child = place.below(name)
        if child.is_absent and not is_open:
            yield Fault(child.key, child.value, owner=place.key)
        else:
            yield from _of_value(Any, child)


def _of_target(takes: Signature, place: Place) -> Iterator[Fault]:
    beside = STABLE.get(place.key, ())
    for name in place.value:
        child = place.below(name)
        if name in HYDRA:
            continue
        kind = takes.kinds.get(name)
        is_fed = child.is_absent and (kind is Any or name not in takes.usual)
        if name in beside or (kind is None and takes.is_open):
            yield from _of_value(Any, child)
        elif kind is None or is_fed:
            yield Fault(child.key, child.value, owner=place.key)
        else:
            yield from _of_value(kind, child)


def at(config: Config, key: str) -> Any:
    """What stands at a dotted key, or ABSENT."""
    node: Any = config
    for name in key.split(".") if key else ():
        node = _child(node, name)
    return node


def twins(config: Config) -> Iterator[Fault]:
    """Settings that a row's formula and its compiled twin do not share.

    The twin gives the same bits; records do not name it.
    """
    method = at(config, "merge.method")
    formula, twin = _child(method, "merge"), _child(method, "compiled")
    if not isinstance(formula, Mapping) or not isinstance(twin, Mapping):
        return
    takes = signature(twin["_target_"])
    known = takes.kinds if takes else {}
    for name, value in formula.items():
        if name not in HYDRA and name in known and twin.get(name, ABSENT) != value:
            key, other = f"merge.method.merge.{name}", f"merge.method.compiled.{name}"
            yield Fault(key, value, f"also that of its compiled twin: say {other} too")
    for name, value in twin.items():
        if name not in HYDRA and name not in formula:
            key, other = f"merge.method.compiled.{name}", f"merge.method.merge.{name}"
            yield Fault(key, value, f"also that of the formula: say {other} too")


def takes_also(config: Config, key: str) -> list[str]:
    """What the target at a key takes by a plain kind, whether it is written or not."""
    node = at(config, key)
    target = _child(node, "_target_")
    takes = signature(target) if isinstance(target, str) else None
    if takes is None:
        return []
    return [name for name in takes.usual if takes.kinds[name] is not Any]
