"""CLIP's image tower with a zero-shot head, as a module."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.models.pixels import Normalise


class ZeroShot(nn.Module):
    """features [batch, embedding], of any length -> 100 x cosine to each class.

    The weight [classes, embedding] is made from class names: no checkpoint holds it.
    """

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(0, 0), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return 100 * F.normalize(features, dim=-1) @ self.weight.T


class Classifier(nn.Module):
    """images -> 100 x cosine to each class [batch, classes].

    Images are uint8 [batch, height, width, 3] as the cache holds them, or float [batch,
    3, height, width] normalised. `leftovers` are text tensors that some image encoders
    carry along; no forward pass reads them.
    """

    def __init__(
        self, visual: nn.Module, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.visual = visual
        self.normalise = Normalise(mean, std)
        self.head = ZeroShot()
        self.leftovers: dict[str, Tensor] = {}

    def features(self, images: Tensor) -> Tensor:
        """The projected class token [batch, embedding], not normalised.

        It is what the authors' adapters read.
        """
        return self.visual(self.normalise(images))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
