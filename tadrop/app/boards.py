"""Recipes: what a conf/experiment/*.yaml runs, as resolved configurations in order."""

import copy
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tadrop.app.places import CONF
from tadrop.app.runs.run import REFERENCE
from tadrop.types import TadropError


def names() -> list[str]:
    """The recipes there are."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def of_command(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The recipe that a command line of run.py names, and its other words."""
    named = [
        word.partition("=")[2]
        for word in words
        if word.lstrip("+").startswith("experiment=")
    ]
    return next(iter(named), None), [
        word for word in words if not word.lstrip("+").startswith("experiment=")
    ]


def about(name: str) -> str:
    """A recipe's comment: what it is, in its own words."""
    return comment(_file(name))


def comment(path: Path) -> str:
    """What the comment lines of a YAML file say; nothing of a file that is not there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return " ".join(
        line.lstrip("# ")
        for line in lines
        if line.startswith("#") and "@package" not in line
    )


def _file(name: str) -> Path:
    path = CONF / "experiment" / f"{name}.yaml"
    if not path.exists():
        raise TadropError(
            f"no recipe is called {name!r}; there are {', '.join(names())}"
        )
    return path


@lru_cache(maxsize=1)
def _parser() -> OverridesParser:
    """Knows the configuration groups, so that `merge: glob(*)` finds every row."""
    return OverridesParser.create(
        config_loader=ConfigLoaderImpl(create_config_search_path(str(CONF)))
    )


def overrides(name: str) -> list[list[str]]:
    """The command-line overrides of each job of a recipe, in the sweeper's order."""
    node = OmegaConf.to_container(OmegaConf.load(_file(name)), resolve=False)
    params: dict[str, Any] = node.get("hydra", {}).get("sweeper", {}).get("params", {})
    choices = []
    for override in _parser().parse_overrides(
        [f"{key}={value}" for key, value in params.items()]
    ):
        key = override.get_key_element()
        swept = override.is_sweep_override()
        values = (
            override.sweep_string_iterator()
            if swept
            else [override.get_value_element_as_str()]
        )
        choices.append([f"{key}={value}" for value in values])
    return [[f"+experiment={name}", *job] for job in product(*choices)]


def configs(name: str, extra: Sequence[str] = ()) -> list[DictConfig]:
    """The resolved configuration of each job of a recipe; extra overrides win over the
    recipe's.
    """
    return [cfg for cfg, _ in jobs(name, extra)]


def jobs(name: str, extra: Sequence[str] = ()) -> list[tuple[DictConfig, list[str]]]:
    """Each job's resolved configuration and the overrides that make it."""
    return list(_jobs(name, extra))


def _jobs(name: str, extra: Sequence[str]) -> Iterator[tuple[DictConfig, list[str]]]:
    """One at a time, as a reader may stop early; jobs that differ in values alone share
    one composition.
    """
    composed = cache(partial(_compose, name))
    for job in overrides(name):
        words = [*job, *extra]
        parsed = list(zip(words, _parser().parse_overrides(words), strict=True))
        groups = tuple(word for word, override in parsed if not _is_value(override))
        values = [override for _, override in parsed if _is_value(override)]
        yield _with_values(composed(groups), values, name), words


def _is_value(override: Override) -> bool:
    """Whether an override sets a plain value, rather than choosing a group's file or
    adding and deleting nodes.
    """
    is_group = (CONF / override.key_or_group).is_dir()
    return (
        override.type == OverrideType.CHANGE
        and not is_group
        and not override.is_sweep_override()
    )


def _with_values(cfg: DictConfig, values: Sequence[Override], name: str) -> DictConfig:
    cfg = copy.deepcopy(cfg)
    for override in values:
        try:
            OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
        except OmegaConfBaseException as error:
            raise TadropError(
                f"recipe {name}: {override.input_line}: {error}"
            ) from error
    return cfg


def _compose(name: str, words: Sequence[str]) -> DictConfig:
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", list(words))
    except HydraException as error:
        raise TadropError(
            f"recipe {name}: {' '.join(words)} does not compose: {error}"
        ) from error


def runs(
    name: str, extra: Sequence[str] = ()
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """The resolved configuration of every run a recipe needs, references first, with
    the overrides of its job.
    """
    for cfg, words in _jobs(name, extra):
        config = OmegaConf.to_container(cfg, resolve=True)
        for merge in config["references"].values():
            yield config | REFERENCE | {"merge": merge}, words
        yield config, words


def with_plain(
    name: str, extra: Sequence[str] = ()
) -> Iterator[tuple[dict[str, Any], list[str], bool]]:
    """As runs, each with whether the recipe needs it, and before each the same run
    without TADrop, which it may not.

    A recipe that sweeps TADrop alone is compared all the same, with plain rows where
    they are recorded.
    """
    for config, words in runs(name, extra):
        plain = [word for word in words if word.split("=")[0].split(".")[0] != "tadrop"]
        yield config | {"tadrop": None}, [*plain, "tadrop=off"], False
        yield config, words, True


@lru_cache
def choices(name: str) -> dict[str, str]:
    """The groups' choices that a recipe does not sweep: {"model": "vit_b32", "tasks":
    "vision8", ...}.
    """
    swept = {word.split("=")[0] for job in overrides(name) for word in job}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = compose(
            "config", overrides(name)[0], return_hydra_config=True
        ).hydra.runtime.choices
    return {group: choice for group, choice in found.items() if group not in swept}
