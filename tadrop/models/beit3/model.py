"""BEiT-3 with the head of the task at hand, as tadrop.models.backbone.Backbone holds it.

Each task has a head of its own, and position embeddings of its own resolution. Some
tasks bring more of the transformer's tensors along: those that not all of the tasks
share with the base.
"""

import torch
from torch import Tensor, nn

from tadrop.models.beit3.heads import Captions, Head, head_of
from tadrop.models.beit3.transformer import Beit3, Inputs
from tadrop.models.private import PrivateTensors
from tadrop.types import TadropError

PREFIX = "beit3."  # of the transformer's tensors, in files


class Tasked(nn.Module):
    """The transformer with the head of the task at hand."""

    def __init__(self, beit3: Beit3, captions: Captions) -> None:
        super().__init__()
        self.beit3, self.captions = beit3, captions
        self.head: Head | None = None

    def forward(self, inputs: Inputs) -> Tensor:
        assert self.head is not None, "equip(module, private) comes first"
        return self.head(self.beit3, inputs)


def build(
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    hidden: int = 3072,
    vocabulary: int = 64010,
    patch: int = 16,
    side: int = 224,
    positions: int = 1024,
    mask: int = Captions.mask,
    longest: int = Captions.longest,
    beams: int = Captions.beams,
    penalty: float = Captions.penalty,
) -> Tasked:
    """The module without weights.

    side: of the base's images; mask, longest, beams, penalty: see Captions
    """
    if beams < 1:
        raise TadropError(
            f"model.build.beams is {beams}; it must be at least 1, which is greedy"
        )
    with torch.device("meta"):
        beit3 = Beit3(width, depth, heads, hidden, vocabulary, patch, side, positions)
    captions = Captions(mask, longest, beams, penalty)
    return Tasked(beit3.to_empty(device="cpu"), captions)


def equip(module: Tasked, private: PrivateTensors) -> None:
    """Puts a task's head in, and those of the transformer's tensors that are not merged.

    What its head reads of them must be there; what it does not read is left as it is.
    """
    device = module.beit3.vision_embed.cls_token.device
    head = head_of(private, module.captions)
    module.head = head.to(device).eval().requires_grad_(False)
    names = [name for name, _ in module.beit3.named_parameters()]
    for name in names:
        full = PREFIX + name
        if not private.should_have(full):
            continue
        if full in private or head.reads(name):
            parent, _, leaf = name.rpartition(".")
            tensor = private[full].to(device, torch.float32, copy=True)
            parameter = nn.Parameter(tensor, requires_grad=False)
            setattr(module.beit3.get_submodule(parent), leaf, parameter)
