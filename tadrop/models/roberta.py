"""RoBERTa (arXiv 1907.11692) as a text classifier: the transformer is merged, each
task's two-layer head is its own.

Files are those of transformers' RobertaForMaskedLM (the base) and
RobertaForSequenceClassification (the experts); logits are those of the latter. Padding
is marked by -1 in the ids and masked here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tadrop.models.gpt2 import read_config
from tadrop.types import TadropError

LEFT_OUT = ("lm_head.", "roberta.pooler.")  # heads of pretraining
HEAD = ("dense", "out_proj")


def adapt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors without pretraining's heads and position numbers."""
    return {
        n: t
        for n, t in tensors.items()
        if not n.startswith(LEFT_OUT) and not n.endswith("position_ids")
    }


class Classifier(nn.Module):
    """Token ids [batch, length], -1 after the end -> logits [batch, classes]."""

    def __init__(self, roberta: nn.Module, width: int, pad: int) -> None:
        super().__init__()
        self.roberta = roberta
        self.pad = pad
        self.classifier = nn.ModuleDict(
            {name: nn.Linear(width, width) for name in HEAD}
        )

    def forward(self, ids: Tensor) -> Tensor:
        most = self.roberta.config.max_position_embeddings - self.pad - 1
        if ids.shape[1] > most:
            raise TadropError(
                f"a text has {ids.shape[1]} tokens; the model has {most} positions: tasks.max_length={most}"
            )
        seen = ids >= 0
        hidden = self.roberta(
            ids.masked_fill(~seen, self.pad), attention_mask=seen.long()
        ).last_hidden_state
        return self.classifier["out_proj"](
            torch.tanh(self.classifier["dense"](hidden[:, 0]))
        )


def build(base: str, hub_dir: str | None = None) -> Classifier:
    """The module of the base's configuration, without weights; its head is replaced
    task by task.
    """
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(**read_config(base, hub_dir))
    roberta = RobertaModel(config, add_pooling_layer=False)
    return Classifier(roberta, config.hidden_size, config.pad_token_id)


def equip(module: Classifier, private: Mapping[str, Tensor]) -> None:
    """Puts a task's head in: classifier.dense and classifier.out_proj."""
    device = next(module.roberta.parameters()).device
    for name in HEAD:
        weight, bias = (
            private.get(f"classifier.{name}.{part}") for part in ("weight", "bias")
        )
        if weight is None or bias is None:
            raise TadropError(
                f"the expert has no classifier.{name}; it is not a RoBERTa sequence classifier"
            )
        layer = nn.Linear(weight.shape[1], weight.shape[0], device=device)
        layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        module.classifier[name] = layer
