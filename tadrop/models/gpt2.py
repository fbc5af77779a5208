"""GPT-2 (Radford et al., 2019) as a sequence classifier.

The transformer is merged; each task's linear head is its own. Files are those of
transformers' GPT2Model (the base: `wte.weight`, ...) and GPT2ForSequenceClassification
(the experts: `transformer.wte.weight`, ..., `score.weight`); logits are those of the
latter. Departure: padding is marked by -1 and not by a token, so nothing depends on
which token a configuration pads with (the base names none), and the head reads the last
token only instead of all of them.

The weights of Conv1D layers (c_attn, c_fc, c_proj) are stored [in, out], the transpose
of nn.Linear's: the model's YAML says so to per-matrix methods.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tadrop.models.private import PrivateTensors
from tadrop.storage.hub import resolve
from tadrop.types import TadropError

if TYPE_CHECKING:
    from transformers import GPT2Model

# Causal masks that old files carry as if they were weights.
MASKS = (".attn.bias", ".attn.masked_bias")
# Tied to wte; a classifier has none.
IGNORED = ("lm_head.weight",)
KNOWN = ("transformer.", "score.")


def adapt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors under the classifier's names, without masks.

    Everything but the head is called `transformer.` and so on.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(MASKS) or name in IGNORED:
            continue
        full = name if name.startswith(KNOWN) else f"transformer.{name}"
        named[full] = tensor
    return named


class Classifier(nn.Module):
    """Token ids [batch, length], -1 after the end -> logits [batch, classes]."""

    def __init__(self, transformer: "GPT2Model", width: int) -> None:
        super().__init__()
        self.transformer = transformer
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """No mask is needed.

        Attention is causal, so what stands after the end of a row cannot reach it.
        """
        most = self.transformer.config.n_positions
        if ids.shape[1] > most:
            raise TadropError(
                f"a text has {ids.shape[1]} tokens; the model has {most} positions: "
                f"set tasks.max_length={most}"
            )
        last = (ids >= 0).sum(1) - 1
        output = self.transformer(ids.clamp(min=0), use_cache=False)
        rows = torch.arange(len(ids), device=ids.device)
        return self.score(output.last_hidden_state[rows, last])


def read_config(base: str, hub_dir: str | None = None) -> dict[str, Any]:
    """The config.json beside a checkpoint."""
    path = resolve("models", base, hub_dir)
    file = (path if path.is_dir() else path.parent) / "config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no mapping")
        return content
    except (OSError, ValueError, RecursionError) as error:
        raise TadropError(
            f"{file}: not a readable model configuration; "
            "the base's directory must hold one"
        ) from error


def build(base: str, hub_dir: str | None = None) -> Classifier:
    """The module of the base's configuration, without weights.

    Its head is replaced task by task.
    """
    from transformers import GPT2Config, GPT2Model

    settings: dict[str, Any] = {**read_config(base, hub_dir), "use_cache": False}
    config = GPT2Config(**settings)
    # On another device 124 million random numbers would be drawn that nobody reads.
    with torch.device("meta"):
        transformer = GPT2Model(config)
    return Classifier(transformer.to_empty(device="cpu"), config.n_embd)


def equip(module: Classifier, private: PrivateTensors) -> None:
    """Puts a task's head in: score.weight [classes, width]."""
    weight = private["score.weight"].float()
    classes, width = weight.shape
    device = next(module.transformer.parameters()).device
    module.score = nn.Linear(width, classes, bias=False, device=device)
    module.score.weight.data.copy_(weight)
