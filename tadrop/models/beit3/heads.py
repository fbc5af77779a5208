"""BEiT-3's heads, one a task: told by the names of a task's private tensors.

Each reads the transformer's hidden states in its own way. Captions are decoded anew at
every step, which gives the same tokens as incremental decoding because text attends to
the past only. They are greedy unless beams are asked for.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.models.beit3.decoding import search
from tadrop.models.beit3.transformer import EPSILON, Beit3, Inputs
from tadrop.models.private import PrivateTensors
from tadrop.types import TadropError

START, END = 0, 2  # token ids of <s> and </s>


def affine(tensors: PrivateTensors, name: str, bias: bool = True) -> nn.Module:
    """The linear or norm layer called `name`, told by the shape of its weight,
    filled.
    """
    weight = tensors[f"{name}.weight"].float()
    if weight.dim() == 1:
        layer: nn.Linear | nn.LayerNorm = nn.LayerNorm(len(weight), EPSILON)
    else:
        outputs, inputs = weight.shape
        layer = nn.Linear(inputs, outputs, bias)
    layer.weight.data = weight.clone()
    if bias:
        layer.bias.data = tensors[f"{name}.bias"].float().clone()
    return layer


class Head(nn.Module, ABC):
    """What a task makes of the transformer and its inputs.

    normalise:   whether it reads hidden states behind the last norm
    vision_only: whether it shows the transformer no text
    """

    normalise: bool
    vision_only: bool = False

    @abstractmethod
    def forward(self, beit3: Beit3, inputs: Inputs) -> Tensor: ...

    def reads(self, name: str) -> bool:
        """Whether a forward pass needs the transformer's tensor of this name."""
        if name == "vision_embed.mask_token":
            return False
        if self.vision_only and ("text_embed" in name or ".B." in name):
            return False
        return self.normalise or not name.startswith("encoder.layer_norm.")


class Classification(Head):
    """ImageNet: the mean patch, normed, and a linear layer."""

    normalise, vision_only = False, True

    def __init__(self, tensors: PrivateTensors) -> None:
        super().__init__()
        self.read = nn.Sequential(affine(tensors, "fc_norm"), affine(tensors, "head"))

    def forward(self, beit3: Beit3, inputs: Inputs) -> Tensor:
        tokens = beit3(inputs.pictures[:, 0], None, self.normalise)
        return self.read(tokens[:, 1:].mean(1))


class Answering(Head):
    """VQA: the image's class token, pooled, and a classifier over the answers."""

    normalise = False

    def __init__(self, tensors: PrivateTensors) -> None:
        super().__init__()
        self.read = nn.Sequential(
            affine(tensors, "pooler.norm"),
            affine(tensors, "pooler.dense"),
            nn.Tanh(),
            affine(tensors, "head.0"),
            affine(tensors, "head.1"),
            nn.GELU(),
            affine(tensors, "head.3"),
        )

    def forward(self, beit3: Beit3, inputs: Inputs) -> Tensor:
        tokens = beit3(inputs.pictures[:, 0], inputs.ids, self.normalise)
        return self.read(tokens[:, 0])


class Reasoning(Head):
    """NLVR2: two images with one sentence.

    An MLP reads the four class tokens: image, text, image, text.
    """

    normalise = True

    def __init__(self, tensors: PrivateTensors) -> None:
        super().__init__()
        self.read = nn.Sequential(
            affine(tensors, "head.norm1"),
            affine(tensors, "head.dense1"),
            affine(tensors, "head.norm2"),
            nn.GELU(),
            affine(tensors, "head.dense2"),
        )

    def forward(self, beit3: Beit3, inputs: Inputs) -> Tensor:
        images, ids = inputs.pictures.transpose(0, 1).flatten(0, 1), inputs.words
        x = beit3(images, torch.cat([ids, ids]), self.normalise)
        text = x.shape[1] - ids.shape[1]
        both = torch.cat([x[:, 0], x[:, text]], dim=1)
        return self.read(torch.cat(both.chunk(2), dim=1))


class Retrieval(Head):
    """Unit vectors of images alone or texts alone, [batch, width]."""

    normalise = True

    def __init__(self, tensors: PrivateTensors) -> None:
        super().__init__()
        self.vision = affine(tensors, "vision_head", bias=False)
        self.language = affine(tensors, "language_head", bias=False)

    def forward(self, beit3: Beit3, inputs: Inputs) -> Tensor:
        if inputs.images is not None:
            tokens = beit3(inputs.images[:, 0], None, self.normalise)
            return F.normalize(self.vision(tokens[:, 0]), dim=1)
        tokens = beit3(None, inputs.ids, self.normalise)
        return F.normalize(self.language(tokens[:, 0]), dim=1)


@dataclass(frozen=True)
class Captions:
    """How captions are made.

    mask: the mask token's id; longest: words of a caption; beams, penalty: see search
    """

    mask: int = 64001
    longest: int = 30
    beams: int = 1
    penalty: float = 0.6


class Captioning(Head):
    """Captions [batch, longest], -1 after the end.

    At each step a mask token stands where the next word goes.
    """

    normalise = True

    def __init__(self, tensors: PrivateTensors, captions: Captions) -> None:
        super().__init__()
        self.words, self.captions = affine(tensors, "mlm_head"), captions

    def next_word(self, beit3: Beit3, images: Tensor, ids: Tensor) -> Tensor:
        """Logits [batch, vocabulary] of the word after ids."""
        masks = ids.new_full((len(ids), 1), self.captions.mask)
        tokens = beit3(
            images, torch.cat([ids, masks], dim=1), self.normalise, causal=True
        )
        return self.words(tokens[:, -1])

    def forward(self, beit3: Beit3, inputs: Inputs) -> Tensor:
        images, settings = inputs.pictures[:, 0], self.captions
        rows = torch.arange(len(images), device=images.device)

        def step(row: Tensor, ids: Tensor) -> Tensor:
            return self.next_word(beit3, images[row], ids)

        longest = settings.longest
        texts = search(
            step, rows, START, END, longest, settings.beams, settings.penalty
        )
        return F.pad(texts, (0, longest - texts.shape[1]), value=-1)


def head_of(private: PrivateTensors, captions: Captions) -> Head:
    """The head that a task's private tensors are of."""
    if "fc_norm.weight" in private:
        return Classification(private)
    if "pooler.dense.weight" in private:
        return Answering(private)
    if "head.dense1.weight" in private:
        return Reasoning(private)
    if "vision_head.weight" in private:
        return Retrieval(private)
    if "mlm_head.weight" in private:
        return Captioning(private, captions)
    names = sorted(name for name in private if not name.startswith("beit3."))
    raise TadropError(f"{private.path}: no BEiT-3 head that we know is in {names}")
