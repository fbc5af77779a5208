"""A configuration as plain values, for those who have nothing to do with Hydra."""

from typing import Any, cast

from omegaconf import OmegaConf


def resolved(node: Any, missing: bool = True) -> dict[str, Any]:
    """A node of the configuration as plain values, every reference followed.

    missing: whether a mandatory value that nobody gave (`???`) is an error
    """
    if not OmegaConf.is_config(node):
        return node
    plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=missing)
    return cast("dict[str, Any]", plain)
