"""GPT-2 (Radford et al., 2019) as a sequence classifier: the transformer is merged,
each task's linear head is its own.

Files are those of transformers' GPT2Model (the base: `wte.weight`, ...) and
GPT2ForSequenceClassification (the experts: `transformer.wte.weight`, ...,
`score.weight`); logits are those of the latter. Departure: padding is marked by -1 and
not by a token, so nothing depends on which token a configuration pads with (the base
names none), and the head reads the last token only instead of all of them.

The weights of Conv1D layers (c_attn, c_fc, c_proj) are stored [in, out], the transpose
of nn.Linear's: the model's YAML says so to per-matrix methods.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tadrop.storage.hub import resolve
from tadrop.types import TadropError

MASKS = (
    ".attn.bias",
    ".attn.masked_bias",
)  # causal masks that old files carry as if they were weights
IGNORED = ("lm_head.weight",)  # tied to wte; a classifier has none


def adapt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors under the classifier's names: everything but the head is
    `transformer.`, masks are left out.
    """
    named = {}
    for name, tensor in tensors.items():
        if name.endswith(MASKS) or name in IGNORED:
            continue
        ours = (
            name
            if name.startswith(("transformer.", "score."))
            else f"transformer.{name}"
        )
        named[ours] = tensor
    return named


class Classifier(nn.Module):
    """Token ids [batch, length], -1 after the end -> logits [batch, classes]."""

    def __init__(self, transformer: nn.Module, width: int) -> None:
        super().__init__()
        self.transformer = transformer
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Attention is causal, so what stands after the end of a row cannot reach it:
        no mask is needed.
        """
        if ids.shape[1] > self.transformer.config.n_positions:
            most = self.transformer.config.n_positions
            has = f"a text has {ids.shape[1]} tokens; the model has {most} positions"
            raise TadropError(f"{has}: set tasks.max_length={most}")
        last = (ids >= 0).sum(1) - 1
        hidden = self.transformer(ids.clamp(min=0), use_cache=False).last_hidden_state
        return self.score(hidden[torch.arange(len(ids), device=ids.device), last])


def read_config(base: str, hub_dir: str | None = None) -> dict[str, Any]:
    """The config.json beside a checkpoint."""
    where = resolve("models", base, hub_dir)
    file = (where if where.is_dir() else where.parent) / "config.json"
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TadropError(
            f"{file}: not a readable model configuration; the base's directory must hold one"
        ) from error


def build(base: str, hub_dir: str | None = None) -> Classifier:
    """The module of the base's configuration, without weights; its head is replaced
    task by task.
    """
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(**read_config(base, hub_dir) | {"use_cache": False})
    with torch.device(
        "meta"
    ):  # else 124 million random numbers are drawn that nobody reads
        transformer = GPT2Model(config)
    return Classifier(transformer.to_empty(device="cpu"), config.n_embd)


def equip(module: Classifier, private: Mapping[str, Tensor]) -> None:
    """Puts a task's head in: score.weight [classes, width]."""
    if "score.weight" not in private:
        raise TadropError(
            "the expert has no tensor 'score.weight'; it is not a GPT-2 sequence classifier"
        )
    weight = private["score.weight"].float()
    device = next(module.transformer.parameters()).device
    module.score = nn.Linear(
        weight.shape[1], weight.shape[0], bias=False, device=device
    )
    module.score.weight.data.copy_(weight)
