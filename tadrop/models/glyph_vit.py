"""The embedded backbone: a vision transformer of 0.64 M parameters for 28x28 grey images.

A convolutional stem turns the image into 4x4 tokens (Xiao et al., arXiv 2106.14881),
pre-norm transformer blocks follow (Dosovitskiy et al., arXiv 2010.11929), and the mean
token feeds a linear head. The head is private to a task and frozen: rows of the base's
classifier, as CLIP's zero-shot heads are embeddings of class names. Only the encoder is
fine-tuned.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.models.private import PrivateTensors


class Block(nn.Module):
    """One pre-norm transformer block: attention, then a GELU MLP of ratio 4."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def attend(self, x: Tensor) -> Tensor:
        """What attention adds to x, [batch, token, width]."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(x.shape))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class GlyphViT(nn.Module):
    """images [batch, 1, 28, 28] in [-1, 1] -> logits [batch, classes]."""

    def __init__(
        self, classes: int, width: int = 96, depth: int = 5, heads: int = 3
    ) -> None:
        super().__init__()
        third, two_thirds = width // 3, 2 * width // 3
        convolutions = [
            nn.Conv2d(1, third, 3, stride=2, padding=1),
            nn.Conv2d(third, two_thirds, 3, stride=2, padding=1),
            nn.Conv2d(two_thirds, width, 3, stride=2, padding=1),
        ]
        first, second, last = convolutions
        self.stem = nn.Sequential(first, nn.GELU(), second, nn.GELU(), last)
        self.position = nn.Parameter(torch.randn(1, 16, width) * 0.2)
        blocks = [Block(width, heads) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        _initialise(convolutions, blocks)

    def features(self, images: Tensor) -> Tensor:
        """The mean token of the last layer, [batch, width]:
        what the frozen heads read.
        """
        x = self.stem(images).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x).mean(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def _initialise(convolutions: list[nn.Conv2d], blocks: list[Block]) -> None:
    """Makes the stem of unit variance and the residual branches small.

    Without that training stalls for a thousand steps.
    """
    for convolution in convolutions:
        nn.init.kaiming_normal_(convolution.weight)
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
    for block in blocks:
        block.proj.weight.data.mul_(0.3)
        block.fc2.weight.data.mul_(0.3)


def build() -> GlyphViT:
    """The module without weights; its head is replaced task by task."""
    return GlyphViT(classes=1)


def equip(module: GlyphViT, private: PrivateTensors) -> None:
    """Puts a task's frozen head in: head.weight [classes, width],
    head.bias [classes].
    """
    weight, bias = private["head.weight"].float(), private["head.bias"].float()
    classes, width = weight.shape
    module.head = nn.Linear(width, classes, device=module.position.device)
    module.head.load_state_dict({"weight": weight, "bias": bias})
