"""Zero-shot heads: what CLIP's text tower makes of class names in prompt templates
(arXiv 2103.00020).

Every prompt's embedding is normalised, the mean over templates is normalised again.
Heads are cached under a hash of everything that they depend on: the base's weights are
in it by their content, so that a base elsewhere finds the heads of its copies.

Prompts are no longer than their batch's longest, where the authors pad all to 77
tokens: attention is causal, so what follows the end of a text changes nothing before it
but the order of sums (1e-6), and costs about five times the work.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.storage.atomic import caching
from tadrop.storage.bars import bar
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.storage.files import write_tensors
from tadrop.types import TadropError

VERSION = 2  # raise it when this file computes something else
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
    file = caching.place(cache / "heads" / f"{name}.safetensors")
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
    starts = range(0, len(prompts), BATCH)
    tick = bar("head", len(starts))
    embeddings: list[Tensor] = []
    for start in starts:
        tokens = tokenize(prompts[start : start + BATCH])
        embeddings.append(embed(model, tokens))
        tick()
    by_class = torch.cat(embeddings).view(len(classes), len(templates), -1)
    return F.normalize(by_class.mean(1), dim=-1).float().clone()


def embed(model: Any, tokens: Tensor) -> Tensor:
    """Embeddings of length 1 of padded token ids [prompt, context], [prompt, width].

    Padding is cut off where the model looks at nothing that follows a text's end.
    """
    if model.attn_mask is None or model.text_pool_type != "argmax":
        return model.encode_text(tokens, normalize=True)
    # The token that ends a text has the largest number.
    length = int(tokens.argmax(1).max()) + 1
    with _shortened(model, length):
        return model.encode_text(tokens[:, :length], normalize=True)


@contextmanager
def _shortened(model: Any, length: int) -> Iterator[None]:
    """The model for texts of so many tokens, instead of its whole context."""
    positions, mask = model.positional_embedding, model.attn_mask
    model.positional_embedding = nn.Parameter(positions[:length], requires_grad=False)
    model.attn_mask = mask[:length, :length]
    try:
        yield
    finally:
        model.positional_embedding, model.attn_mask = positions, mask
