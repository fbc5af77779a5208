"""The names of records of many configurations.

    python -m tests.keys

prints them as JSON, by row and TADrop, and by task set.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tadrop.app.places import CONF
from tadrop.results.record import key

TADROP = ("off", "on", "uniform")


def composed(*words: str) -> dict[str, Any]:
    """A resolved configuration."""
    config = OmegaConf.to_container(compose("config", list(words)), resolve=True)
    assert isinstance(config, dict)
    return {str(name): node for name, node in config.items()}


def choices(folder: Path) -> list[str]:
    """The choices of a group of the configuration."""
    return sorted(path.stem for path in folder.glob("[!_]*.yaml"))


def keys() -> Iterator[tuple[str, str]]:
    """A key for every row with TADrop off, on and its control, and for task sets.

    Configurations are put together from parts, as composing takes Hydra long.
    """
    tadrop = {choice: composed(f"tadrop={choice}")["tadrop"] for choice in TADROP}
    for row in choices(CONF / "merge"):
        config = composed(f"merge={row}")
        for choice, node in tadrop.items():
            yield f"merge={row} tadrop={choice}", key({**config, "tadrop": node})
    for tasks in choices(CONF / "tasks"):
        if tasks.startswith("glyph"):
            yield f"tasks={tasks}", key(composed(f"tasks={tasks}"))


if __name__ == "__main__":
    with initialize_config_dir(str(CONF), version_base="1.3"):
        print(json.dumps(dict(keys()), indent=1))
