"""A vision transformer of 0.66 M parameters for 28x28 grey images: the embedded
backbone.

A convolutional stem turns the image into 4x4 tokens (Xiao et al., arXiv 2106.14881),
pre-norm transformer blocks follow (Dosovitskiy et al., arXiv 2010.11929), and the mean
token feeds a linear head. The head is private to a task and frozen: it is fitted once
on the base's features and only the encoder is fine-tuned, as CLIP's zero-shot heads
are.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return self.proj(
            F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class GlyphViT(nn.Module):
    """images [batch, 1, 28, 28] in [-1, 1] -> logits [batch, classes]."""

    def __init__(
        self, classes: int, width: int = 96, depth: int = 5, heads: int = 3
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width // 3, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width // 3, 2 * width // 3, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * width // 3, width, 3, stride=2, padding=1),
        )
        self.position = nn.Parameter(torch.randn(1, 16, width) * 0.2)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        self._initialise()

    def _initialise(self) -> None:
        """Unit-variance stem and small residual branches: without them training stalls
        for a thousand steps.
        """
        for module in self.stem:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
        for block in self.blocks:
            block.proj.weight.data.mul_(0.3)
            block.fc2.weight.data.mul_(0.3)

    def features(self, images: Tensor) -> Tensor:
        """The mean token of the last layer, [batch, width]: what the frozen heads read."""
        x = self.stem(images).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x).mean(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def build() -> GlyphViT:
    """The module without weights; its head is replaced task by task."""
    return GlyphViT(classes=1)


def equip(module: GlyphViT, private: Mapping[str, Tensor]) -> None:
    """Puts a task's frozen head in: head.weight [classes, width], head.bias [classes]."""
    weight, bias = private["head.weight"].float(), private["head.bias"].float()
    module.head = nn.Linear(
        weight.shape[1], weight.shape[0], device=module.position.device
    )
    module.head.load_state_dict({"weight": weight, "bias": bias})
