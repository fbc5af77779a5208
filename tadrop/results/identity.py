"""What names a run: the part of its configuration that can change its result.

A record is named by the hash of its settings, but for those that cannot change a result
(a row's title and paper, say). Settings are spelled with stable names only: the names
of rows, models, task sets and rules, and the values of their knobs. Where the code that
computes them lies (`_target_`) is no part of them, so that code may be moved and
renamed and every record keeps its name.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tadrop.errors import TadropError

Config = Mapping[str, Any]

# Top-level words that say where, whether and how a run is made, not what it gives.
CIRCUMSTANCES = (
    "board",
    "device",
    "dry_run",
    "evaluate",
    "export",
    "hydra",
    "overwrite",
    "paths",
    "references",
    "tracker",
)
# Words that are dropped wherever they stand: Hydra's, places on this machine, another
# road to the same bits, and what a row says to the tests and to the boards.
REMARKS = (
    "_partial_",
    "_target_",
    "arriving",
    "baseless",
    "boards",
    "cache",
    "compiled",
    "cost",
    "exceptions",
    "home",
    "hub_dir",
    "packagings",
    "trained_in",
)
# What a row says to a model's file, which makes a setting of the model of it.
TOLD = {"merge": ("packaging",)}
# Facts about a row, a model or a task set: stored with a record, no part of its name.
DESCRIPTIVE = {
    "merge": ("title", "paper", "data", "models"),
    "model": ("provide", "verified", "head", "equip", "adapt"),
    "tasks": ("name",),
}
# Where a module's own files lie; how it is built otherwise is a setting.
MODULE_PLACES = ("base",)
# What only select=grid reads of a row, and what only rows that work on matrices read of
# a model.
GRID = ("scale_grid", "tune")
MATRICES = "matrices"
# Part of the settings only where they are something else.
USUAL = {"arrival": False, "dtype": "float32", "pack": False, "tuned": None}
UNSET_OF_TADROP = ("density", "reading")
USUAL_OF_MODEL = {"training_seed": 0}

# What is random in a run, and what made its models; runs that differ in these alone are
# one row.
SEEDS = ("seed", "training_seed")
STEPS = ("search", "tadrop", "sparsify")
NATIVE = "native"  # the density of TADrop that is that of the row's own rule
OFF = "none"  # what `assign` says in the node of tadrop=off, whose settings are unread


def tadrop(config: Config) -> Any:
    """The tadrop node of a configuration or of its record; None where TADrop is off.

    The node of tadrop=off has settings so that a sweep may cross off with those of on.
    Records hold null for it: all such runs are one. A density and a reading that are not
    set are no part of the node.
    """
    node = config["tadrop"]
    if node is None or node.get("assign") == OFF:
        return None
    return {name: value for name, value in node.items() if _is_set(name, value)}


def _is_set(name: str, value: Any) -> bool:
    return value is not None or name not in UNSET_OF_TADROP


def training_seed(config: Config) -> int:
    """The seed with which the models of a run were trained; 0 is the usual one."""
    return config["model"].get("training_seed", 0)


def is_native(config: Config) -> bool:
    """Whether TADrop shares out anew what the row's own rule keeps, which is then read
    though it does not cut by itself.
    """
    node = tadrop(config)
    return node is not None and node.get("density") == NATIVE


def steps(config: Config) -> list[str]:
    """What happens to task vectors before the merge, in the order of its application.

    The words are search (the row's own), tadrop, and sparsify (the row's own rule).
    `before` says the order; without it the search comes first, then TADrop, which takes
    the place of the row's rule, or that rule where TADrop is off. Raises TadropError
    for an order that leaves out what is switched on.
    """
    given = config.get("before")
    if given is not None:
        _check_order(given)
    search = ["search"] if config["merge"].get("search") is not None else []
    own = ["sparsify"] if config["sparsify"] is not None else []
    if tadrop(config) is None:
        return search + own
    if is_native(config):
        _check_native(config, given)
    if given is None:
        return [*search, "tadrop"]
    for word in (*search, "tadrop"):
        if word not in given:
            raise TadropError(
                f"before is {list(given)}, which leaves out {word}; it must name it"
            )
    return [word for word in given if word in (*search, "tadrop", *own)]


def _check_native(config: Config, given: Sequence[str] | None) -> None:
    """Raises TadropError where a row has no rule whose density TADrop could take."""
    if config["sparsify"] is None:
        raise TadropError(
            f"tadrop.density=native: the row {config['merge']['name']} has no sparsifier "
            "of its own, hence no density; say a number"
        )
    if "sparsify" in (given or ()):
        raise TadropError(
            f"before is {list(given or ())}, but with tadrop.density=native TADrop shares "
            "out what the row's own sparsifier keeps; leave sparsify out"
        )


def with_tadrop(config: Config, node: Any) -> dict[str, Any]:
    """The same run with another tadrop node, and the steps that follow from it."""
    changed = {**config, "tadrop": node}
    return changed | {"before": steps(changed)}


def _check_order(words: object) -> None:
    """Raises TadropError unless the words are some of STEPS, each once."""
    choices = f"it is a list of some of {', '.join(STEPS)}, in the order of application"
    if isinstance(words, str) or not isinstance(words, Sequence):
        raise TadropError(f"before is {words!r}; {choices}, or null")
    unknown = [word for word in words if word not in STEPS]
    if unknown:
        raise TadropError(f"before has {unknown[0]!r}; {choices}")
    if len(set(words)) < len(words):
        raise TadropError(f"before is {list(words)}; {choices}")


def settings(config: Config) -> dict[str, Any]:
    """The part of a resolved configuration that can change a result, as it is recorded.

    A rule that TADrop stands in for is no part of it: such runs are one, whatever the
    rule's settings, unless TADrop takes its density. The seed is part of it only where
    a node takes one (`seed: ${seed}`): a run without chance is the same for all seeds.
    """
    kept: dict[str, Any] = {}
    model = _unusual(config["model"], USUAL_OF_MODEL)
    config = {**config, "tadrop": tadrop(config), "model": model}
    for name, node in config.items():
        if name not in CIRCUMSTANCES:
            kept[name] = _without(_told(name, node), REMARKS)
    kept = _unusual(kept, USUAL)
    kept["before"] = steps(config)
    if "sparsify" not in kept["before"] and not is_native(config):
        kept["sparsify"] = None
    if not is_random(kept):
        kept["seed"] = None
    return kept


def _told(group: str, node: Any) -> Any:
    """A node of a group without what it says to another one."""
    return _leave_out(node, TOLD[group]) if group in TOLD else node


def is_random(config: Config) -> bool:
    """Whether a run depends on its seed: a node takes one, or tasks arrive in an order."""
    nodes = [node for name, node in config.items() if name != "seed"]
    return bool(config.get("arrival")) or any(map(takes_seed, nodes))


def takes_seed(node: Any) -> bool:
    """Whether a `seed` stands anywhere in a node."""
    if isinstance(node, Mapping):
        return "seed" in node or any(map(takes_seed, node.values()))
    return isinstance(node, list | tuple) and any(map(takes_seed, node))


def _without(node: Any, words: Collection[str]) -> Any:
    """A node without these words; one that held nothing but them is left out too."""
    if isinstance(node, list | tuple):
        return [_without(item, words) for item in node]
    if not isinstance(node, Mapping):
        return node
    kept: dict[str, Any] = {}
    for name, child in node.items():
        rest = _without(child, words)
        emptied = isinstance(child, Mapping) and child and not rest
        if name not in words and not emptied:
            kept[name] = rest
    return kept


def identity(recorded: Config) -> dict[str, Any]:
    """What of a record's settings names it: nothing that only describes,
    or is unread.
    """
    named = dict(recorded)
    for group, words in DESCRIPTIVE.items():
        named[group] = _leave_out(named[group], words)
    module = _leave_out(named["model"].pop("build", {}), MODULE_PLACES)
    if module:
        named["model"]["build"] = module
    if named.get("select") != "grid":
        named["merge"] = _leave_out(named["merge"], GRID)
    method = named["merge"].get("method") or {}
    if method.get("scope") != "matrix":
        named["model"] = _leave_out(named["model"], (MATRICES,))
    return named


def _unusual(node: Config, usual: Config) -> dict[str, Any]:
    """A node without the words that say what is usual."""
    return {
        name: child for name, child in node.items() if usual.get(name, ...) != child
    }


def _leave_out(node: Config, words: Collection[str]) -> dict[str, Any]:
    """A node without some of the words that stand in it directly."""
    return {name: child for name, child in node.items() if name not in words}


def key(config: Config) -> str:
    """The name of a configuration's record: 16 hex digits of a sha256."""
    return key_of(settings(config))


def key_of(recorded: Config) -> str:
    """The name that belongs to a record's settings: see key."""
    canonical = json.dumps(identity(recorded), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def variant(config: Config) -> str:
    """Nothing for a plain run, TADrop for the adaptive rule,
    else the control's name.
    """
    node = tadrop(config)
    if node is None:
        return ""
    return "TADrop" if node["assign"] == "adaptive" else node["assign"]


def label(config: Config) -> str:
    """A run's short name for people: its row, and TADrop or a control where one is on."""
    title, name = config["merge"]["title"], variant(config)
    return f"{title} + {name}" if name else title
