"""Zero-shot heads: what CLIP's text tower makes of class names in prompt templates
(arXiv 2103.00020).

Every prompt's embedding is normalised, the mean over templates is normalised again.
Heads are cached under a hash of everything that they depend on.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tadrop.storage.checkpoint import open_checkpoint
from tadrop.storage.files import write_tensors
from tadrop.types import TadropError

VERSION = 1  # raise it when this file computes something else
BATCH = 256  # prompts at once


def head(
    config: Mapping[str, Any],
    tower: Callable[[], Mapping[str, Tensor]],
    fingerprint: Callable[[], str],
    classes: Sequence[str],
    templates: Sequence[str],
    cache: Path | None,
) -> Tensor:
    """The head [classes, embedding] of these classes. tower() gives the text tower's
    weights in open_clip's names.
    """
    for template in templates:
        if "{}" not in template:
            raise TadropError(
                f"prompt template {template!r} has no {{}} for the class name"
            )
    if cache is None:
        return encode(build(config, tower()), config, classes, templates)
    words = json.dumps(
        [VERSION, _version(), config, fingerprint(), list(classes), list(templates)],
        sort_keys=True,
    )
    file = (
        cache
        / "heads"
        / f"{hashlib.sha256(words.encode()).hexdigest()[:24]}.safetensors"
    )
    if not file.exists():
        weight = encode(build(config, tower()), config, classes, templates)
        write_tensors(
            file,
            {"head.weight": weight},
            {"classes": json.dumps(list(classes), ensure_ascii=False)},
        )
    return open_checkpoint(file)["head.weight"]


def _version() -> str:
    import open_clip

    return open_clip.__version__


def build(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> torch.nn.Module:
    """open_clip's model with these text weights; its vision tower is never run and
    takes no memory.
    """
    import open_clip

    with torch.device("meta"):
        visual = open_clip.model.CLIP(**config).visual
    small = {
        **config,
        "vision_cfg": {
            **config["vision_cfg"],
            "layers": 1,
            "width": 64,
            "head_width": 64,
        },
    }
    model = open_clip.model.CLIP(**small)
    model.visual = visual
    wanted = {n for n in model.state_dict() if not n.startswith("visual.")}
    missing, extra = sorted(wanted - set(weights)), sorted(set(weights) - wanted)
    if missing or extra:
        raise TadropError(
            f"the text tower does not fit: missing {missing[:3]}, not expected {extra[:3]}"
        )
    model.load_state_dict({n: weights[n] for n in wanted}, strict=False)
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def encode(
    model: torch.nn.Module,
    config: Mapping[str, Any],
    classes: Sequence[str],
    templates: Sequence[str],
) -> Tensor:
    """[classes, embedding] of length 1, the mean over templates."""
    from open_clip import SimpleTokenizer

    tokenize = SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    prompts = [
        template.replace("{}", name) for name in classes for template in templates
    ]
    encoded = [
        model.encode_text(tokenize(prompts[at : at + BATCH]), normalize=True)
        for at in range(0, len(prompts), BATCH)
    ]
    mean = torch.cat(encoded).view(len(classes), len(templates), -1).mean(1)
    return F.normalize(mean, dim=-1).float().clone()
