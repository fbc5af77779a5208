"""Images as the cache holds them, made ready for a vision transformer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Images uint8 [batch, height, width, 3] -> float [batch, 3, height, width].

    Each channel is scaled to [0, 1], less its mean, over its standard deviation. Images
    that are floating-point already pass as they are. Mean and deviation are no weights:
    no checkpoint holds them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        channels = (3, 1, 1)
        self.register_buffer(
            "mean", torch.tensor(mean).view(channels), persistent=False
        )
        self.register_buffer("std", torch.tensor(std).view(channels), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if images.dtype != torch.uint8:
            return images
        scaled = images.permute(0, 3, 1, 2).float().div(255)
        return scaled.sub_(self.mean).div_(self.std)
