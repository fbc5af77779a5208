"""Objects from nodes of the configuration.

Some nodes carry stable words beside what their class takes: the name of a rule or of a
task set, and the family of tasks. Records are named by them (tadrop/results/identity.py);
classes never see them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hydra.utils import instantiate

from tadrop.app.places import importable
from tadrop.app.schema.configuration import STABLE
from tadrop.app.schema.values import resolved
from tadrop.models.model import Model
from tadrop.protocols.streams import Redealt, Sparsifier
from tadrop.protocols.tasks import Tasks
from tadrop.results import identity
from tadrop.types import TadropError

MODEL_WORDS, RULE_WORDS = STABLE["model"], STABLE["sparsify"]
TASKS_WORDS = STABLE["tasks"]


def _built(node: Any, words: tuple[str, ...] = ()) -> Any:
    """The object that a node describes; None for no node. words: not its class's."""
    if node is None:
        return None
    plain = _located(resolved(node))
    for word in words:
        plain.pop(word, None)
    return instantiate(plain)


def _located(node: Any) -> Any:
    """A copy of a plain node whose targets are named as they can be imported here."""
    if isinstance(node, list):
        return list(map(_located, node))
    if not isinstance(node, dict):
        return node
    located = {name: _located(child) for name, child in node.items()}
    if "_target_" in located:
        located["_target_"] = importable(located["_target_"])
    return located


def rule(node: Any) -> Sparsifier | None:
    """A sparsifier, from a node of conf/sparsify or conf/tadrop;
    None where it is off.
    """
    if node is not None and node.get("assign") == identity.OFF:
        return None
    return _built(node, RULE_WORDS)


def tadrop(cfg: Mapping[str, Any]) -> Sparsifier | None:
    """TADrop as a configuration has it, or None.

    Raises TadropError where its density is native and the row's own rule has none.
    """
    if not identity.is_native(cfg):
        return rule(cfg["tadrop"])
    node = cfg["sparsify"]
    own = rule(node)
    if not isinstance(own, Redealt):
        raise TadropError(
            f"tadrop.density=native: {node['name']}, the own sparsifier of the row "
            f"{cfg['merge']['name']}, has no density that tensors could share otherwise; "
            "say a number"
        )
    adaptive: Any = _built(cfg["tadrop"])
    return replace(adaptive, own=own)


def tasks(node: Mapping[str, Any]) -> Tasks:
    """A task set, from a node of conf/tasks."""
    return _built(node, TASKS_WORDS)


def model(node: Mapping[str, Any]) -> Model:
    """A model, from a node of conf/model."""
    return _built(node, MODEL_WORDS)


def part(node: Any) -> Any:
    """A part of a merge row: its method, search, statistics or refinement."""
    return _built(node)
