"""BEiT-3's multiway transformer (arXiv 2208.10442): vision and language experts around
shared attention scores.

Names and shapes are those of the official files
(`beit3.encoder.layers.0.self_attn.q_proj.A.weight`): A is the expert of image tokens, B
that of text tokens. Blocks are pre-norm with an extra norm before the attention's and
the MLP's last layer (sub-LN). There is no dropout and no incremental decoding.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.types import TadropError

FIRST = 2  # position embeddings start there
EPSILON = 1e-5


@dataclass(frozen=True)
class Inputs:
    """What a task shows the model.

    images [batch, n, 3, side, side], token ids [batch, length] (-1 after the end)
    """

    images: Tensor | None = None
    ids: Tensor | None = None

    def to(self, device: torch.device) -> "Inputs":
        """The same inputs on a device."""
        images = None if self.images is None else self.images.to(device)
        ids = None if self.ids is None else self.ids.to(device)
        return replace(self, images=images, ids=ids)

    @property
    def pictures(self) -> Tensor:
        """The images, of a task that shows some."""
        assert self.images is not None, "this task's inputs have no images"
        return self.images

    @property
    def words(self) -> Tensor:
        """The token ids, of a task that shows some."""
        assert self.ids is not None, "this task's inputs have no text"
        return self.ids


class Multiway(nn.Module):
    """Two modules of one kind: A sees the first `split` tokens, B the others."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.A, self.B = make(), make()

    def forward(self, x: Tensor, split: int) -> Tensor:
        if split >= x.shape[1]:
            return self.A(x)
        if split == 0:
            return self.B(x)
        return torch.cat([self.A(x[:, :split]), self.B(x[:, split:])], dim=1)


class Positions(nn.Module):
    """Position embeddings of image tokens (A) and of text tokens (B)."""

    def __init__(self, images: int, texts: int, width: int) -> None:
        super().__init__()
        self.A, self.B = nn.Embedding(images, width), nn.Embedding(texts, width)


class Attention(nn.Module):
    """Multi-head attention with multiway projections.

    mask: True where a token may look, [batch, 1, to, from].
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = Multiway(lambda: nn.Linear(width, width))
        self.v_proj = Multiway(lambda: nn.Linear(width, width))
        self.q_proj = Multiway(lambda: nn.Linear(width, width))
        self.out_proj = Multiway(lambda: nn.Linear(width, width))
        self.inner_attn_ln = Multiway(lambda: nn.LayerNorm(width, EPSILON))

    def _by_head(self, x: Tensor) -> Tensor:
        """[batch, token, width] -> [batch, head, token, width of a head]."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, split: int, mask: Tensor | None) -> Tensor:
        q = self._by_head(self.q_proj(x, split))
        k = self._by_head(self.k_proj(x, split))
        v = self._by_head(self.v_proj(x, split))
        mixed = F.scaled_dot_product_attention(q, k, v, mask)
        joined = mixed.transpose(1, 2).flatten(2)
        return self.out_proj(self.inner_attn_ln(joined, split), split)


class FeedForward(nn.Module):
    """A GELU MLP with a norm before its last layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.ffn_layernorm = nn.LayerNorm(hidden, EPSILON)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.ffn_layernorm(F.gelu(self.fc1(x))))


class Layer(nn.Module):
    """One pre-norm block: attention, then the MLP of each way."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = Multiway(lambda: nn.LayerNorm(width, EPSILON))
        self.ffn = Multiway(lambda: FeedForward(width, hidden))
        self.final_layer_norm = Multiway(lambda: nn.LayerNorm(width, EPSILON))

    def forward(self, x: Tensor, split: int, mask: Tensor | None) -> Tensor:
        normed = self.self_attn_layer_norm(x, split)
        x = x + self.self_attn(normed, split, mask)
        return x + self.ffn(self.final_layer_norm(x, split), split)


class VisionEmbedding(nn.Module):
    """Images [batch, 3, side, side] -> a class token and a token per patch."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)
        # Of pretraining: no forward pass reads it, but every file has it.
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.proj(images).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1)


class Encoder(nn.Module):
    """Position embeddings, layers and the last norm."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        patches: int,
        positions: int,
    ) -> None:
        super().__init__()
        self.embed_positions = Positions(patches + 1 + FIRST, positions, width)
        self.layers = nn.ModuleList()
        for _ in range(depth):
            self.layers.append(Layer(width, heads, hidden))
        self.layer_norm = Multiway(lambda: nn.LayerNorm(width, EPSILON))


class Beit3(nn.Module):
    """Images, token ids or both -> hidden states, image tokens first."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        vocabulary: int,
        patch: int,
        side: int,
        positions: int,
    ) -> None:
        super().__init__()
        self.text_embed = nn.Embedding(vocabulary, width)
        self.vision_embed = VisionEmbedding(width, patch)
        patches = (side // patch) ** 2
        self.encoder = Encoder(width, depth, heads, hidden, patches, positions)

    def forward(
        self,
        images: Tensor | None,
        ids: Tensor | None,
        normalise: bool,
        causal: bool = False,
    ) -> Tensor:
        """Hidden states [batch, token, width].

        ids:    -1 where there is no token
        causal: text looks at images and earlier text, images at images only
        """
        parts: list[Tensor] = []
        positions = self.encoder.embed_positions
        if images is not None:
            parts.append(_positioned(self.vision_embed(images), positions.A))
        split = parts[0].shape[1] if parts else 0
        if ids is not None:
            text = _positioned(self.text_embed(ids.clamp(min=0)), positions.B)
            parts.append(text * (ids >= 0).unsqueeze(2))
        x = torch.cat(parts, dim=1)
        mask = _mask(x.shape[1], split, ids, causal)
        for layer in self.encoder.layers:
            x = layer(x, split, mask)
        return self.encoder.layer_norm(x, split) if normalise else x


def _positioned(x: Tensor, embedding: nn.Embedding) -> Tensor:
    """Tokens [batch, token, width] with their position embeddings added."""
    count = x.shape[1]
    most = len(embedding.weight) - FIRST
    if count > most:
        raise TadropError(
            f"{count} tokens, but this model has {most} positions for them: "
            "image or text too large"
        )
    return x + embedding.weight[FIRST : FIRST + count]


def _mask(size: int, split: int, ids: Tensor | None, causal: bool) -> Tensor | None:
    """Which tokens may look where: None for everywhere, else [batch, 1, 1 or to,
    from].
    """
    if ids is None:
        return None
    images = ids.new_ones(len(ids), split, dtype=torch.bool)
    seen = torch.cat([images, ids >= 0], dim=1)[:, None, None, :]
    if not causal:
        return seen
    past = torch.ones(size, size, dtype=torch.bool, device=ids.device).tril()
    past[:, :split] = True
    return seen & past
