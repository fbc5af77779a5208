"""CLIP's two packagings of one set of weights: what they call every tensor.

split: names and shapes of the `transformers` files (version 4 spelling: `vision_model.`
       and all), q, k, v as three tensors a layer, projections as Linear weights [out,
       in]
fused: names and shapes of `open_clip`, q, k, v as the rows of one tensor in that order,
       projections as [in, out]

A rule that works tensor by tensor gives different results on the two, so a run has one
of them and its record says which.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PACKAGINGS = ("split", "fused")
PROJECTION = {"split": "visual_projection.weight", "fused": "visual.proj"}
# What stands before the number of a layer of the vision tower.
LAYERS = {
    "split": "vision_model.encoder.layers.",
    "fused": "visual.transformer.resblocks.",
}
LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
VISION = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.weight": "ln_pre.weight",
    "pre_layrnorm.bias": "ln_pre.bias",
    "post_layernorm.weight": "ln_post.weight",
    "post_layernorm.bias": "ln_post.bias",
}
# What image encoders of the task_vectors lineage carry of the text tower. It was never
# trained.
LEFTOVERS = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
    "logit_scale": "logit_scale",
}
TRANSPOSED = {"visual_projection.weight", "text_projection.weight"}
PARTS = ("q", "k", "v")


@dataclass(frozen=True)
class Pair:
    """One fused tensor and its split ones: one of them, or q,
    k and v stacked by rows.
    """

    fused: str
    split: tuple[str, ...]

    def names(self, packaging: str) -> tuple[str, ...]:
        """What this packaging calls them."""
        return self.split if packaging == "split" else (self.fused,)

    @property
    def transposed(self) -> bool:
        """Whether the one is stored as the other's transpose."""
        return self.split[0] in TRANSPOSED


PROJECTION_PAIR = Pair(PROJECTION["fused"], (PROJECTION["split"],))


def _layers(split: str, fused: str, count: int) -> Iterator[Pair]:
    """The pairs of so many layers; split, fused: what stands before their numbers."""
    for number in range(count):
        theirs, ours = f"{split}{number}", f"{fused}{number}"
        for kind in ("weight", "bias"):
            attention = tuple(
                f"{theirs}.self_attn.{part}_proj.{kind}" for part in PARTS
            )
            yield Pair(f"{ours}.attn.in_proj_{kind}", attention)
            for split_name, fused_name in LAYER.items():
                name = f"{theirs}.{split_name}.{kind}"
                yield Pair(f"{ours}.{fused_name}.{kind}", (name,))


def vision_pairs(layers: int, projection: bool) -> list[Pair]:
    """Every tensor of a vision tower, with its projection or without."""
    pairs: list[Pair] = []
    for split, fused in VISION.items():
        pairs.append(Pair(f"visual.{fused}", (f"vision_model.{split}",)))
    pairs += _layers(LAYERS["split"], LAYERS["fused"], layers)
    if projection:
        pairs.append(PROJECTION_PAIR)
    return pairs


def leftover_pairs() -> list[Pair]:
    """Text tensors outside the layers."""
    return [Pair(fused, (split,)) for split, fused in LEFTOVERS.items()]


def text_pairs(layers: int) -> list[Pair]:
    """Every tensor of a text tower."""
    split, fused = "text_model.encoder.layers.", "transformer.resblocks."
    return [*leftover_pairs(), *_layers(split, fused, layers)]


# What per-matrix methods are told of a vision tower, projection left out; the entries
# are those of tadrop.models.matrices.
SPLIT_MATRICES = (
    {"names": "vision_model.encoder.layers.*.self_attn.*_proj.weight"},
    {"names": "vision_model.encoder.layers.*.mlp.fc?.weight"},
    {"names": "vision_model.embeddings.position_embedding.weight", "kind": "table"},
)
FUSED_MATRICES = (
    {"names": "visual.transformer.resblocks.*.attn.in_proj_weight", "blocks": 3},
    {"names": "visual.transformer.resblocks.*.attn.out_proj.weight"},
    {"names": "visual.transformer.resblocks.*.mlp.c_fc.weight"},
    {"names": "visual.transformer.resblocks.*.mlp.c_proj.weight"},
    {"names": "visual.positional_embedding", "kind": "table"},
)


def matrices(packaging: str, projection: bool) -> list[dict[str, Any]]:
    """What per-matrix methods are told of a tower; visual.proj is stored in x out."""
    told = SPLIT_MATRICES if packaging == "split" else FUSED_MATRICES
    entries: list[dict[str, Any]] = [dict(entry) for entry in told]
    if projection:
        fused = packaging == "fused"
        outer = {"names": PROJECTION[packaging], "kind": "table", "transposed": fused}
        entries.append(outer)
    return entries
