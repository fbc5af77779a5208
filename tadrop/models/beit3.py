"""BEiT-3, the multiway transformer (arXiv 2208.10442): vision and language experts
around shared attention scores.

Names and shapes are those of the official files
(`beit3.encoder.layers.0.self_attn.q_proj.A.weight`): A is the expert of image tokens, B
that of text tokens. Blocks are pre-norm with an extra norm before the attention's and
the MLP's last layer (sub-LN). A task is told by the names of its private tensors: each
has a head of its own, and position embeddings of its own resolution. No dropout and no
incremental decoding: captions are decoded anew at every step, which gives the same
tokens because text attends to the past only. Captions are greedy unless beams are asked
for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from tadrop.models.decoding import search
from tadrop.types import TadropError

FIRST = 2  # position embeddings start there
START, END = 0, 2  # token ids of <s> and </s>
EPSILON = 1e-5


@dataclass(frozen=True)
class Inputs:
    """What a task shows the model: images [batch, n, 3, side, side], token ids [batch,
    length] (-1 after the end).
    """

    images: Tensor | None = None
    ids: Tensor | None = None

    def to(self, device: torch.device) -> "Inputs":
        moved = {
            name: None if value is None else value.to(device)
            for name, value in vars(self).items()
        }
        return replace(self, **moved)


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


class Attention(nn.Module):
    """Multi-head attention with multiway projections; mask: True where a token may
    look, [batch, 1, to, from].
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (
            Multiway(lambda: nn.Linear(width, width)) for _ in range(4)
        )
        self.inner_attn_ln = Multiway(lambda: nn.LayerNorm(width, EPSILON))

    def forward(self, x: Tensor, split: int, mask: Tensor | None) -> Tensor:
        q, k, v = (
            each(x, split).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = (
            functional.scaled_dot_product_attention(q, k, v, mask)
            .transpose(1, 2)
            .flatten(2)
        )
        return self.out_proj(self.inner_attn_ln(mixed, split), split)


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.ffn_layernorm = nn.LayerNorm(hidden, EPSILON)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.ffn_layernorm(functional.gelu(self.fc1(x))))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = Multiway(lambda: nn.LayerNorm(width, EPSILON))
        self.ffn = Multiway(lambda: FeedForward(width, hidden))
        self.final_layer_norm = Multiway(lambda: nn.LayerNorm(width, EPSILON))

    def forward(self, x: Tensor, split: int, mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x, split), split, mask)
        return x + self.ffn(self.final_layer_norm(x, split), split)


class VisionEmbedding(nn.Module):
    """Images [batch, 3, side, side] -> a class token and a token per patch."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.mask_token = nn.Parameter(
            torch.zeros(1, 1, width)
        )  # of pretraining; in every file
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.proj(images).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1)


class Encoder(nn.Module):
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
        self.embed_positions = Multiway(lambda: nn.Embedding(positions, width))
        self.embed_positions.A = nn.Embedding(patches + 1 + FIRST, width)
        self.layers = nn.ModuleList(Layer(width, heads, hidden) for _ in range(depth))
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
    ):
        super().__init__()
        self.text_embed = nn.Embedding(vocabulary, width)
        self.vision_embed = VisionEmbedding(width, patch)
        self.encoder = Encoder(
            width, depth, heads, hidden, (side // patch) ** 2, positions
        )

    def forward(
        self,
        images: Tensor | None,
        ids: Tensor | None,
        normalise: bool,
        causal: bool = False,
    ) -> Tensor:
        """ids: -1 where there is no token. causal: text looks at images and earlier
        text, images at images only.
        """
        parts, places = [], self.encoder.embed_positions
        if images is not None:
            parts.append(self._placed(self.vision_embed(images), places.A))
        split = parts[0].shape[1] if parts else 0
        if ids is not None:
            text = self._placed(self.text_embed(ids.clamp(min=0)), places.B)
            parts.append(text * (ids >= 0).unsqueeze(2))
        x = torch.cat(parts, dim=1)
        mask = self._mask(x, split, ids, causal)
        for layer in self.encoder.layers:
            x = layer(x, split, mask)
        return self.encoder.layer_norm(x, split) if normalise else x

    @staticmethod
    def _placed(x: Tensor, places: nn.Embedding) -> Tensor:
        if x.shape[1] + FIRST > len(places.weight):
            most = len(places.weight) - FIRST
            raise TadropError(
                f"{x.shape[1]} tokens, but this model has {most} positions for them: image or text too large"
            )
        return x + places.weight[FIRST : FIRST + x.shape[1]]

    @staticmethod
    def _mask(x: Tensor, split: int, ids: Tensor | None, causal: bool) -> Tensor | None:
        if ids is None:
            return None
        seen = torch.cat(
            [ids.new_ones(len(ids), split, dtype=torch.bool), ids >= 0], dim=1
        )[:, None, None, :]
        if not causal:
            return seen
        size = x.shape[1]
        past = torch.ones(size, size, dtype=torch.bool, device=x.device).tril()
        past[:, :split] = True
        return seen & past


def affine(tensors: Mapping[str, Tensor], name: str) -> nn.Module:
    """The linear or norm layer called `name`, told by the shape of its weight, filled."""
    weight, bias = tensors[f"{name}.weight"].float(), tensors.get(f"{name}.bias")
    layer = (
        nn.LayerNorm(len(weight), EPSILON)
        if weight.dim() == 1
        else nn.Linear(*weight.shape[::-1], bias is not None)
    )
    layer.weight.data = weight.clone()
    if bias is not None:
        layer.bias.data = bias.float().clone()
    return layer


class Classification(nn.Module):
    """ImageNet: the mean patch, normed, and a linear layer."""

    normalise, vision_only = False, True

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.read = nn.Sequential(affine(tensors, "fc_norm"), affine(tensors, "head"))

    def forward(self, beit3: Beit3, inputs: Inputs) -> Tensor:
        return self.read(
            beit3(inputs.images[:, 0], None, self.normalise)[:, 1:].mean(1)
        )


class Answering(nn.Module):
    """VQA: the image's class token, pooled, and a two-layer classifier over the
    answers.
    """

    normalise, vision_only = False, False

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        pooler = [
            affine(tensors, "pooler.norm"),
            affine(tensors, "pooler.dense"),
            nn.Tanh(),
        ]
        head = [
            affine(tensors, "head.0"),
            affine(tensors, "head.1"),
            nn.GELU(),
            affine(tensors, "head.3"),
        ]
        self.read = nn.Sequential(*pooler, *head)

    def forward(self, beit3: Beit3, inputs: Inputs) -> Tensor:
        return self.read(beit3(inputs.images[:, 0], inputs.ids, self.normalise)[:, 0])


class Reasoning(nn.Module):
    """NLVR2: two images with one sentence; the four class tokens (image, text, image,
    text) and an MLP.
    """

    normalise, vision_only = True, False

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        first = [affine(tensors, "head.norm1"), affine(tensors, "head.dense1")]
        self.read = nn.Sequential(
            *first,
            affine(tensors, "head.norm2"),
            nn.GELU(),
            affine(tensors, "head.dense2"),
        )

    def forward(self, beit3: Beit3, inputs: Inputs) -> Tensor:
        images = inputs.images.transpose(0, 1).flatten(0, 1)
        x = beit3(images, torch.cat([inputs.ids, inputs.ids]), self.normalise)
        both = torch.cat([x[:, 0], x[:, x.shape[1] - inputs.ids.shape[1]]], dim=1)
        return self.read(torch.cat(both.chunk(2), dim=1))


class Retrieval(nn.Module):
    """Unit vectors of images alone or texts alone, [batch, width]."""

    normalise, vision_only = True, False

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.vision, self.language = (
            affine(tensors, "vision_head"),
            affine(tensors, "language_head"),
        )

    def forward(self, beit3: Beit3, inputs: Inputs) -> Tensor:
        if inputs.images is not None:
            return functional.normalize(
                self.vision(beit3(inputs.images[:, 0], None, self.normalise)[:, 0]),
                dim=1,
            )
        return functional.normalize(
            self.language(beit3(None, inputs.ids, self.normalise)[:, 0]), dim=1
        )


@dataclass(frozen=True)
class Captions:
    """How captions are made. mask: the mask token's id; longest: words of a caption;
    beams,
    penalty: see search.
    """

    mask: int = 64001
    longest: int = 30
    beams: int = 1
    penalty: float = 0.6


class Captioning(nn.Module):
    """Captions [batch, longest], -1 after the end: at each step a mask token stands
    where the next word goes.
    """

    normalise, vision_only = True, False

    def __init__(self, tensors: Mapping[str, Tensor], captions: Captions) -> None:
        super().__init__()
        self.words, self.captions = affine(tensors, "mlm_head"), captions

    def next_word(self, beit3: Beit3, images: Tensor, ids: Tensor) -> Tensor:
        """Logits [batch, vocabulary] of the word after ids."""
        ids = torch.cat([ids, ids.new_full((len(ids), 1), self.captions.mask)], dim=1)
        return self.words(beit3(images, ids, self.normalise, causal=True)[:, -1])

    def forward(self, beit3: Beit3, inputs: Inputs) -> Tensor:
        images, how = inputs.images[:, 0], self.captions
        rows = torch.arange(len(images), device=images.device)
        step = lambda row, ids: self.next_word(beit3, images[row], ids)  # noqa: E731
        found = search(step, rows, START, END, how.longest, how.beams, how.penalty)
        return functional.pad(found, (0, how.longest - found.shape[1]), value=-1)


HEADS = {
    "fc_norm.weight": Classification,
    "pooler.dense.weight": Answering,
    "head.dense1.weight": Reasoning,
    "vision_head.weight": Retrieval,
}


class Tasked(nn.Module):
    """The transformer with the head of the task at hand."""

    def __init__(self, beit3: Beit3, captions: Captions) -> None:
        super().__init__()
        self.beit3, self.captions = beit3, captions
        self.head: nn.Module | None = None
        self.own: set[str] = (
            set()
        )  # of the transformer's tensors, those that some task brought along

    def forward(self, inputs: Inputs) -> Tensor:
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
    **captions: float,
) -> Tasked:
    """The module without weights. side: of the base's images; captions: the fields of
    Captions.
    """
    if captions.get("beams", 1) < 1:
        raise TadropError(
            f"model.build.beams is {captions['beams']}; it must be at least 1, which is greedy"
        )
    with torch.device("meta"):
        beit3 = Beit3(width, depth, heads, hidden, vocabulary, patch, side, positions)
    return Tasked(beit3.to_empty(device="cpu"), Captions(**captions))


def head_of(module: Tasked, private: Mapping[str, Tensor]) -> nn.Module:
    """The head that these tensors are of."""
    for name, head in HEADS.items():
        if name in private:
            return head(private)
    if "mlm_head.weight" in private:
        return Captioning(private, module.captions)
    raise TadropError(
        f"no BEiT-3 head that we know is in {sorted(n for n in private if not n.startswith('beit3.'))}"
    )


def equip(module: Tasked, private: Mapping[str, Tensor]) -> None:
    """Puts a task's head in, and those of its transformer's tensors that are not
    merged.
    """
    device = module.beit3.vision_embed.cls_token.device
    module.head = head_of(module, private).to(device).eval().requires_grad_(False)
    own = {
        name.removeprefix("beit3."): t
        for name, t in private.items()
        if name.startswith("beit3.")
    }
    module.own |= set(own)
    wanted = {
        n
        for n in module.own
        if not (module.head.vision_only and ("text_embed" in n or ".B." in n))
    }
    if not module.head.normalise:
        wanted = {n for n in wanted if not n.startswith("encoder.layer_norm.")}
    if missing := sorted(wanted - set(own)):
        raise TadropError(
            f"a task's checkpoint lacks {missing[0]!r}, which is not merged and which its head needs"
        )
    for name, tensor in own.items():
        parent, _, leaf = name.rpartition(".")
        parameter = nn.Parameter(
            tensor.to(device, torch.float32, copy=True), requires_grad=False
        )
        setattr(module.beit3.get_submodule(parent), leaf, parameter)
