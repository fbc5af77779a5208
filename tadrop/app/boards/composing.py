"""Configurations of many runs, as Hydra composes them one by one, but fast.

Hydra takes a tenth of a second for each. A board has hundreds of runs, which are
combinations of a few choices: what a choice of GRAFTED changes is composed once, alone,
and put into the configuration of every run that makes the choice.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tadrop.app.boards import catalogue
from tadrop.app.places import CONF
from tadrop.app.schema.composing import hydra
from tadrop.errors import TadropError

# Groups whose choices change nothing that the model, the tasks or a board's file say.
GRAFTED = ("merge", "tadrop", "sparsify")

catalogue.register()


@lru_cache(maxsize=1)
def _parser() -> OverridesParser:
    """Knows the configuration's groups, so that `merge=glob(*)` finds every row."""
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    return OverridesParser.create(config_loader=loader)


@cache
def _parsed(word: str) -> Override:
    return _parser().parse_overrides([word])[0]


def batches(words: Iterable[str]) -> list[list[str]]:
    """The overrides of each job that Hydra's own sweeper makes of these words.

    Of two words for the same key the later counts.
    """
    return BasicSweeper.split_arguments(list(map(_parsed, words)), None)[0]


def without_sweeps(words: Iterable[str]) -> list[str]:
    """The words that are the same for every job."""
    return [word for word in words if not _parsed(word).is_sweep_override()]


@cache
def _with_hydra(words: tuple[str, ...]) -> DictConfig:
    """What Hydra composes of these words, with its own node; not to be changed."""
    with hydra():
        return compose("config", list(words), return_hydra_config=True)


@cache
def _composed(words: tuple[str, ...]) -> DictConfig:
    """As a run sees it, without Hydra's node."""
    whole = _with_hydra(words)
    names = map(str, whole)
    return OmegaConf.masked_copy(whole, [name for name in names if name != "hydra"])


def configured(words: Sequence[str], with_hydra: bool = False) -> DictConfig:
    """The configuration of one job, equal to what Hydra composes of its words.

    with_hydra: with its own node. Raises TadropError for a value that does not fit, and
    Hydra's errors for a choice that is not there.
    """
    whole: list[str] = []
    choices: dict[str, str] = {}
    values: list[Override] = []
    for word in words:
        override = _parsed(word)
        group = override.key_or_group
        if not _is_group(group) and override.type == OverrideType.CHANGE:
            values.append(override)
        elif group in GRAFTED and override.package is None:
            choices[group] = word
        else:
            whole.append(word)
    shared = _with_hydra if with_hydra else _composed
    if any(map(_changes_nodes, whole)):
        return copy.deepcopy(shared(tuple(words)))
    cfg = copy.deepcopy(shared(tuple(whole)))
    _graft(cfg, choices)
    _set(cfg, values)
    return cfg


def _is_group(name: str) -> bool:
    """Whether the configuration has a folder of choices with this name."""
    return (CONF / name).is_dir()


def _changes_nodes(word: str) -> bool:
    """Whether a word adds or deletes a node, so that Hydra must compose them all."""
    return not _is_group(_parsed(word).key_or_group)


def _graft(cfg: DictConfig, choices: Mapping[str, str]) -> None:
    """Puts what each choice changes into a configuration. choices: words by group.

    A row's file may choose its sparsifier; one that the words choose comes before it.
    """
    for group, word in choices.items():
        for name, node in _changed(group, word).items():
            if name == group or name not in choices:
                cfg[name] = node


@cache
def _changed(group: str, word: str) -> dict[str, Any]:
    """The nodes that a choice changes, and always its own, unresolved."""
    usual, chosen = _composed(()), _composed((word,))
    nodes: dict[str, Any] = {}
    for name in chosen:
        node = _plain(chosen, name)
        if name == group or node != _plain(usual, name):
            nodes[str(name)] = node
    return nodes


def _plain(cfg: DictConfig, name: Any) -> Any:
    """A node as dictionaries and lists, its interpolations as they are written."""
    node = cfg._get_node(name)
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node


def _set(cfg: DictConfig, values: Iterable[Override]) -> None:
    for override in values:
        try:
            OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
        except OmegaConfBaseException as error:
            raise TadropError(f"{override.input_line}: {error}") from error
