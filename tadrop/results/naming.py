"""What people call a run, read from its configuration or from its record's settings."""

from collections.abc import Mapping
from typing import Any

from tadrop.results import identity


def variant(config: Mapping[str, Any]) -> str:
    """Nothing for a plain run, TADrop for the adaptive rule,
    else the control's name.
    """
    tadrop = identity.tadrop(config)
    if tadrop is None:
        return ""
    return "TADrop" if tadrop["assign"] == "adaptive" else tadrop["assign"]


def label(config: Mapping[str, Any]) -> str:
    """A run's short name: its row, and TADrop or a control where one is on."""
    title, name = config["merge"]["title"], variant(config)
    return f"{title} + {name}" if name else title
