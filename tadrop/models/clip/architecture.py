"""CLIP's architectures, as open_clip describes and builds them."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tadrop.types import TadropError


@lru_cache(maxsize=8)
def configuration(architecture: str) -> dict[str, Any]:
    """open_clip's description of a model: one of its names,
    or a JSON file of that form.
    """
    import open_clip

    if architecture.endswith(".json"):
        try:
            return json.loads(Path(architecture).read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise TadropError(f"model.architecture={architecture}: {error}") from error
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise TadropError(
            f"model.architecture={architecture}: open_clip has no such model; "
            "ViT-B-32-quickgelu is one"
        )
    return config


def empty_tower(config: dict[str, Any]) -> nn.Module:
    """The image tower of a description, with memory but without weights."""
    import open_clip

    with torch.device("meta"):
        visual = open_clip.model.CLIP(**config).visual
    return visual.to_empty(device="cpu")
