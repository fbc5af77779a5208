"""What is said of a wrong word: its key and value, what it may be, the nearest name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import filterfalse
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tadrop.app.schema.configuration import DESCRIPTIVE, settable
from tadrop.app.schema.faults import MISSING, UNKNOWN, Fault, at, faults, takes_also
from tadrop.app.schema.kinds import choices
from tadrop.errors import TadropError

USUAL = ("on", "off", "uniform")  # of the choices of a group, named first
FEW = 9  # so many names are listed; of more, the nearest
ALIKE = 0.7  # of at most 1: how much a name looks like one that is proposed
PER_ROW = "records do not tell formulas apart by it: give the formula a row of its own"


def spelling(value: Any) -> str:
    """A value as a command line has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        words = map(
            ":".join, zip(map(str, value), map(spelling, value.values()), strict=True)
        )
        return f"{{{','.join(words)}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(spelling, value))}]"
    return str(value)


def nearest(
    name: str,
    known: Iterable[str],
) -> list[str]:
    """At most three names that look alike, the most alike first."""
    ends: dict[str, str] = {}
    for key in known:
        ends.setdefault(key.rpartition(".")[2], key)
    return list(map(ends.__getitem__, get_close_matches(name, list(ends), 3, ALIKE)))


LAUNCHER = "hydra/launcher"
# The extra that a launcher comes with.
EXTRAS = {"joblib": "joblib", "ray": "ray", "submitit_slurm": "slurm"}


def _is_hidden(name: str) -> bool:
    """Whether a name is for our own use: Hydra's words,
    and files that others build on.
    """
    return name.startswith("_")


def no_choice(
    group: str,
    text: str,
    options: Sequence[str],
) -> TadropError:
    """The error about a file of a group that there is not."""
    extra = EXTRAS.get(text.partition("=")[2])
    if group == LAUNCHER and extra is not None:
        return TadropError(f"{group}={extra} is an extra: pip install -e '.[{extra}]'")
    named = list(filterfalse(_is_hidden, options))
    usual = list(filter(named.__contains__, USUAL))
    names = list(dict.fromkeys([*usual, *named]))
    if not names:
        return TadropError(f"{text}: there is no {text}")
    if len(names) <= FEW:
        return TadropError(f"{text}: {group} is {choices(tuple(names))}")
    near = nearest(text.partition("=")[2], names)
    meant = f"did you mean {choices(tuple(near))}? " if near else ""
    return TadropError(
        f"{text}: conf/{group} has no such file; {meant}python run.py --help lists all"
    )


def check_settable(
    key: str,
    value: Any,
    text: str,
) -> None:
    """Raises TadropError for what a command cannot set, whatever its value."""
    if any(map(_is_hidden, key.split("."))) or _has_target(value):
        raise TadropError(
            f"{text}: this is no setting, and {PER_ROW} (conf/merge/NAME.yaml)"
        )
    group, _, word = key.partition(".")
    if word.partition(".")[0] in DESCRIPTIVE.get(group, ()):
        raise TadropError(
            f"{text}: this is what a file of conf/{group} says of itself; "
            "it is not set by a command"
        )


def _has_target(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_has_target, value.values()))
    return isinstance(value, list) and any(map(_has_target, value))


@dataclass(frozen=True)
class Context:
    """What is known where words are checked.

    name:     of the schema
    said:     what the YAML files say; None where that is not known
    settings: the words of the command line that are no choices of files
    loader:   Hydra's
    given:    keys of values that are put in afterwards
    """

    name: str = "config"
    said: Mapping[str, Any] | None = None
    settings: Sequence[Any] = ()
    loader: Any = None
    given: Sequence[str] = ()


def check(config: DictConfig, where: Context) -> Mapping[str, Any]:
    """Raises TadropError for the first fault; for values that nobody gave, last.

    Returns the configuration with every reference followed.
    """
    raw, resolved = _plain(config)
    declared = UNKNOWN if where.said is None else where.said
    missing: list[str] = []
    found = faults(resolved, raw, declared, where.name)
    for fault in sorted(found, key=lambda fault: _said(fault, where) is None):
        if fault.value != MISSING:
            raise TadropError(_told(fault, raw, where))
        if fault.key not in where.given:
            missing.append(fault.key)
    if missing:
        words = " ".join(map("{}=VALUE".format, missing))
        group = missing[0].partition(".")[0]
        choice = f"{group}={at(raw, f'{group}.name')}"
        raise TadropError(f"{choice}: {' and '.join(missing)} must be given: {words}")
    return resolved


def check_composed(
    config: DictConfig,
    name: str = "config",
) -> None:
    """Raises TadropError for the first fault of a configuration made elsewhere."""
    check(config, Context(name))


def _plain(config: DictConfig) -> tuple[Any, Any]:
    """A configuration as it is written, and with every reference followed."""
    raw: Any = OmegaConf.to_container(config)
    try:
        return raw, OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        key = error.full_key or ""
        raise TadropError(
            f"{key}={at(raw, key)}: this refers to what there is not; "
            f"{_pair(raw)} do not go together"
        ) from error


def _pair(raw: Mapping[str, Any]) -> str:
    names = [at(raw, f"{group}.name") for group in ("model", "tasks")]
    return f"model={names[0]} and tasks={names[1]}"


def _told(
    fault: Fault,
    raw: Mapping[str, Any],
    where: Context,
) -> str:
    """One line about a fault."""
    said = raw if where.said is None else where.said
    text = _said(fault, where) or f"{fault.key}={spelling(fault.value)}"
    if fault.may_be:
        return f"{text}: {fault.key} is {fault.may_be}"
    parent = fault.key.rpartition(".")[0]
    if at(said, parent) is None and where.loader is not None:
        options = [
            one for one in where.loader.get_group_options(parent) if one != "none"
        ]
        ways = list(map(f"{parent}={{}}".format, filterfalse(_is_hidden, options)))
        if ways:
            return f"{text}: {parent} is none here; choose {choices(tuple(ways))}"
    return f"{text}: {_unknown(fault, said)}"


def _said(fault: Fault, where: Context) -> str | None:
    """The word of the command line that a fault is of; None for a fault of a file."""
    for word in where.settings:
        key = word.key_or_group
        if f"{fault.key}.".startswith(f"{key}.") or key.startswith(f"{fault.key}."):
            return word.input_line.lstrip("+")
    return None


def _unknown(fault: Fault, said: Mapping[str, Any]) -> str:
    """What is said of a key that there is not."""
    key, owner = fault.key, fault.owner
    here = _settings(said, owner)
    name = key.rpartition(".")[2]
    beside = [one for one in here if one.startswith(f"{owner}.")]
    everywhere = sorted(_keys(said, ""), key=len)
    near = nearest(name, beside) or nearest(name, here) or nearest(name, everywhere)
    meant = f"; did you mean {choices(tuple(near[:2]))}?" if near else ""
    if owner and here and (not near or len(here) <= FEW):
        row = at(said, "merge.name") if owner.startswith("merge") else None
        whose = f"the row {row}" if row else owner
        meant = f"; {whose} has {', '.join(here)}{meant}"
    elif not near:
        meant = "; python run.py --help lists them"
    return f"no setting is called {key}{meant}"


def _settings(
    said: Mapping[str, Any],
    owner: str,
) -> list[str]:
    """What can be set below a node; of a merge row, all its knobs."""
    if owner.partition(".")[0] == "merge":
        keys = _keys(at(said, "merge"), "merge")
        hidden = {*settable_words("merge")}
        return [key for key in keys if key.split(".")[1] not in hidden]
    node = at(said, owner)
    names = [*node, *takes_also(said, owner)] if isinstance(node, Mapping) else []
    return settable(owner, list(dict.fromkeys(names)))


def settable_words(group: str) -> tuple[str, ...]:
    """The words of a group's files that a command cannot set, or seldom would."""
    return (*DESCRIPTIVE[group], "tune")


def knobs(config: DictConfig) -> list[str]:
    """The dotted keys of all that can be set in a configuration."""
    raw: Any = OmegaConf.to_container(config)
    return list(_keys(raw, ""))


def _keys(node: Any, key: str) -> Iterator[str]:
    """The dotted keys of all values below a node, of those a target also takes too."""
    if not isinstance(node, Mapping):
        yield key
        return
    for name, child in node.items():
        if not name.startswith("_") and name not in DESCRIPTIVE.get(key, ()):
            yield from _keys(child, f"{key}.{name}" if key else name)
    for name in takes_also(node, "") if "_partial_" in node else ():
        if name not in node:
            yield f"{key}.{name}"
