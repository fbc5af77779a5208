"""RoBERTa (arXiv 1907.11692) as a text classifier.

The transformer is merged; each task's two-layer head is its own. Files are those of
transformers' RobertaForMaskedLM (the base) and RobertaForSequenceClassification (the
experts); logits are those of the latter. Padding is marked by -1 in the ids and masked
here.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tadrop.models.language.gpt2 import read_config
from tadrop.models.private import PrivateTensors
from tadrop.types import TadropError

if TYPE_CHECKING:
    from transformers import RobertaModel

LEFT_OUT = ("lm_head.", "roberta.pooler.")  # heads of pretraining
HEAD = ("dense", "out_proj")
PAD = 1  # the padding token's id where a configuration names none


def adapt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors without pretraining's heads and position numbers."""
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not name.startswith(LEFT_OUT) and not name.endswith("position_ids"):
            kept[name] = tensor
    return kept


class Classifier(nn.Module):
    """Token ids [batch, length], -1 after the end -> logits [batch, classes]."""

    def __init__(self, roberta: "RobertaModel", width: int, pad: int) -> None:
        super().__init__()
        self.roberta = roberta
        self.pad = pad
        self.classifier = nn.ModuleDict()
        for name in HEAD:
            self.classifier[name] = nn.Linear(width, width)

    def forward(self, ids: Tensor) -> Tensor:
        most = self.roberta.config.max_position_embeddings - self.pad - 1
        if ids.shape[1] > most:
            raise TadropError(
                f"a text has {ids.shape[1]} tokens; the model has {most} positions: "
                f"tasks.max_length={most}"
            )
        seen = ids >= 0
        padded = ids.masked_fill(~seen, self.pad)
        output = self.roberta(padded, attention_mask=seen.long())
        first = output.last_hidden_state[:, 0]
        hidden = torch.tanh(self.classifier["dense"](first))
        return self.classifier["out_proj"](hidden)


def build(base: str, hub_dir: str | None = None) -> Classifier:
    """The module of the base's configuration, without weights.

    Its head is replaced task by task.
    """
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(**read_config(base, hub_dir))
    roberta = RobertaModel(config, add_pooling_layer=False)
    pad = PAD if config.pad_token_id is None else config.pad_token_id
    return Classifier(roberta, config.hidden_size, pad)


def equip(module: Classifier, private: PrivateTensors) -> None:
    """Puts a task's head in: classifier.dense and classifier.out_proj."""
    device = next(module.roberta.parameters()).device
    for name in HEAD:
        weight = private[f"classifier.{name}.weight"].float()
        bias = private[f"classifier.{name}.bias"].float()
        outputs, inputs = weight.shape
        layer = nn.Linear(inputs, outputs, device=device)
        layer.load_state_dict({"weight": weight, "bias": bias})
        module.classifier[name] = layer
