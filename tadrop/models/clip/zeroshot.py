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

Config = Mapping[str, Any]


def head(
    config: Config,
    tower: Callable[[], Mapping[str, Tensor]],
    fingerprint: Callable[[], str],
    classes: Sequence[str],
    templates: Sequence[str],
    cache: Path | None,
) -> Tensor:
    """The head [classes, embedding] of these classes.

    tower() gives the text tower's weights in open_clip's names, fingerprint() a hash of
    the file that they are from; neither is asked more than need be.
    """
    for template in templates:
        if "{}" not in template:
            raise TadropError(
                f"prompt template {template!r} has no {{}} for the class name"
            )
    if cache is None:
        return encode(build(config, tower()), config, classes, templates)
    facts = [VERSION, _version(), config, fingerprint(), list(classes), list(templates)]
    words = json.dumps(facts, sort_keys=True).encode()
    name = hashlib.sha256(words).hexdigest()[:24]
    file = cache / "heads" / f"{name}.safetensors"
    if not file.exists():
        weight = encode(build(config, tower()), config, classes, templates)
        shown = json.dumps(list(classes), ensure_ascii=False)
        write_tensors(file, {"head.weight": weight}, {"classes": shown})
    return open_checkpoint(file)["head.weight"]


def _version() -> str:
    import open_clip

    return open_clip.__version__


def build(config: Config, weights: Mapping[str, Tensor]) -> Any:
    """open_clip's model with these text weights.

    Its vision tower is never run and takes no memory.
    """
    import open_clip

    with torch.device("meta"):
        visual = open_clip.model.CLIP(**config).visual
    thin = {"layers": 1, "width": 64, "head_width": 64}
    small = {**config, "vision_cfg": {**config["vision_cfg"], **thin}}
    model = open_clip.model.CLIP(**small)
    model.visual = visual
    wanted = set(model.state_dict()) - {
        f"visual.{name}" for name in visual.state_dict()
    }
    missing, extra = sorted(wanted - set(weights)), sorted(set(weights) - wanted)
    if missing or extra:
        raise TadropError(
            f"the text tower does not fit: missing {missing[:3]}, "
            f"not expected {extra[:3]}"
        )
    model.load_state_dict({name: weights[name] for name in wanted}, strict=False)
    return model.eval().requires_grad_(False)


def prompts_of(classes: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every class name in every template, the templates of a class side by side."""
    prompts: list[str] = []
    for name in classes:
        for template in templates:
            prompts.append(template.replace("{}", name))
    return prompts


@torch.inference_mode()
def encode(
    model: Any, config: Config, classes: Sequence[str], templates: Sequence[str]
) -> Tensor:
    """[classes, embedding] of length 1, the mean over templates."""
    from open_clip import SimpleTokenizer

    tokenize = SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    prompts = prompts_of(classes, templates)
    embeddings: list[Tensor] = []
    for start in range(0, len(prompts), BATCH):
        tokens = tokenize(prompts[start : start + BATCH])
        embeddings.append(model.encode_text(tokens, normalize=True))
    by_class = torch.cat(embeddings).view(len(classes), len(templates), -1)
    return F.normalize(by_class.mean(1), dim=-1).float().clone()
