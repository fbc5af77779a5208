"""Recipes: what a conf/experiment/*.yaml runs, as resolved configurations in order."""

from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from tadrop.types import TadropError

CONF = Path(__file__).parents[1] / "conf"


def names() -> list[str]:
    """The recipes there are."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def overrides(name: str) -> list[list[str]]:
    """The command-line overrides of each job of a recipe, in the sweeper's order."""
    path = CONF / "experiment" / f"{name}.yaml"
    if not path.exists():
        raise TadropError(f"no recipe is called {name!r}; there are {', '.join(names())}")
    node = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    params: dict[str, Any] = node.get("hydra", {}).get("sweeper", {}).get("params", {})
    parser = OverridesParser.create()
    choices = []
    for override in parser.parse_overrides([f"{key}={value}" for key, value in params.items()]):
        key = override.get_key_element()
        values = (
            override.sweep_string_iterator() if override.is_sweep_override() else [override.get_value_element_as_str()]
        )
        choices.append([f"{key}={value}" for value in values])
    return [[f"+experiment={name}", *job] for job in product(*choices)]


def configs(name: str, extra: list[str] | None = None) -> list[DictConfig]:
    """The resolved configuration of each job of a recipe."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return [compose("config", [*job, *(extra or [])]) for job in overrides(name)]
