"""CLIP's two packagings of one set of weights, and lossless ways between them.

split: names and shapes of the `transformers` files (version 4 spelling: `vision_model.`
       and all), q, k, v as three tensors a layer, projections as Linear weights [out,
       in]
fused: names and shapes of `open_clip`, q, k, v as the rows of one tensor in that order,
projections as [in, out]

A rule that works tensor by tensor gives different results on the two, so a run has one
of them and its record says which. Converted tensors are made when they are asked for:
splitting is a view, fusing copies one tensor.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tadrop.types import TadropError

LAYOUTS = ("split", "fused")
PROJECTION = {"split": "visual_projection.weight", "fused": "visual.proj"}
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
# what image encoders of the task_vectors lineage carry of the text tower; never trained
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
    """One fused tensor and its split ones: one of them, or q, k and v stacked by rows."""

    fused: str
    split: tuple[str, ...]

    def names(self, layout: str) -> tuple[str, ...]:
        return self.split if layout == "split" else (self.fused,)


def _layers(split: str, fused: str, count: int) -> Iterator[Pair]:
    for n in range(count):
        for kind in ("weight", "bias"):
            attention = tuple(
                f"{split}{n}.self_attn.{part}_proj.{kind}" for part in PARTS
            )
            yield Pair(f"{fused}{n}.attn.in_proj_{kind}", attention)
            for theirs, ours in LAYER.items():
                yield Pair(
                    f"{fused}{n}.{ours}.{kind}", (f"{split}{n}.{theirs}.{kind}",)
                )


def vision_pairs(layers: int, projection: bool) -> list[Pair]:
    """Every tensor of a vision tower, with its projection or without."""
    pairs = [
        Pair(f"visual.{ours}", (f"vision_model.{theirs}",))
        for theirs, ours in VISION.items()
    ]
    pairs += _layers(
        "vision_model.encoder.layers.", "visual.transformer.resblocks.", layers
    )
    return pairs + (
        [Pair(PROJECTION["fused"], (PROJECTION["split"],))] if projection else []
    )


def matrices(layout: str, projection: bool) -> list[dict[str, Any]]:
    """What per-matrix methods are told of a tower in this layout (backbone.matrix_layouts);
    visual.proj is stored in x out.
    """
    if layout == "split":
        told = [
            {"names": f"vision_model.encoder.layers.*.{name}.weight"}
            for name in ("self_attn.*_proj", "mlp.fc?")
        ]
        tables = ["vision_model.embeddings.position_embedding.weight"]
    else:
        block = "visual.transformer.resblocks.*"
        told = [{"names": f"{block}.attn.in_proj_weight", "blocks": 3}]
        told += [
            {"names": f"{block}.{name}.weight"}
            for name in ("attn.out_proj", "mlp.c_fc", "mlp.c_proj")
        ]
        tables = ["visual.positional_embedding"]
    told += [{"names": name, "kind": "table"} for name in tables]
    outer = {
        "names": PROJECTION[layout],
        "kind": "table",
        "transposed": layout == "fused",
    }
    return [*told, outer] if projection else told


def leftover_pairs() -> list[Pair]:
    return [Pair(ours, (theirs,)) for theirs, ours in LEFTOVERS.items()]


def text_pairs(layers: int) -> list[Pair]:
    """Every tensor of a text tower."""
    return [
        *leftover_pairs(),
        *_layers("text_model.encoder.layers.", "transformer.resblocks.", layers),
    ]


class Lazy(Mapping[str, Tensor]):
    """Named tensors that are made when asked for; the last one made is kept, as pieces
    of it follow each other.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Tensor]]) -> None:
        self._makers = makers
        self._last: tuple[str, Tensor] | None = None

    def __getitem__(self, name: str) -> Tensor:
        last = self._last  # one read, so that threads cannot mix two tensors up
        if last is None or last[0] != name:
            last = self._last = (name, self._makers[name]())
        return last[1]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def plain(name: str) -> str:
    """A name without the prefixes that wrappers put before it, in version 4 spelling."""
    name = re.sub(
        r"^(module\.)?(model\.(?=visual\.|token_|positional_|ln_final|text_|logit_|transformer\.))?",
        "",
        name,
    )
    return re.sub(
        r"^(?=(embeddings|encoder|pre_layrnorm|post_layernorm)\.)",
        "vision_model.",
        name,
    )


def normalise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The floating-point tensors under plain names; index buffers of old files are
    dropped.
    """
    return {
        plain(name): tensor
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
    }


def layout_of(tensors: Iterable[str], where: object) -> str:
    """Which packaging these names are."""
    names = list(tensors)
    if any(n.startswith("vision_model.") for n in names):
        return "split"
    if any(n.startswith("visual.") for n in names):
        return "fused"
    shown = ", ".join(repr(n) for n in names[:3])
    raise TadropError(
        f"{where}: not a CLIP vision tower; its tensors are called {shown} ..."
    )


def depth(names: Iterable[str], prefix: str) -> int:
    """How many layers there are under a prefix."""
    found = {
        int(m[1]) for n in names if (m := re.match(re.escape(prefix) + r"(\d+)\.", n))
    }
    return max(found, default=-1) + 1


def _made(
    tensors: Mapping[str, Tensor], pair: Pair, have: str, want: str
) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Makers of a pair's tensors in the wanted layout from those at hand."""
    flip = pair.split[0] in TRANSPOSED
    if have == want:
        for name in pair.names(want):
            yield name, lambda name=name: tensors[name]
    elif want == "fused":
        parts = pair.split
        whole = (
            (lambda: torch.cat([tensors[n] for n in parts]))
            if len(parts) > 1
            else lambda: tensors[parts[0]]
        )
        yield pair.fused, (lambda: whole().T) if flip else whole
    else:
        count = len(pair.split)
        for at, name in enumerate(pair.split):
            if count == 1:
                yield (
                    name,
                    lambda: tensors[pair.fused].T if flip else tensors[pair.fused],
                )
            else:
                yield name, lambda at=at: tensors[pair.fused].chunk(count)[at]


def convert(
    tensors: Mapping[str, Tensor], pairs: Iterable[Pair], want: str, where: object
) -> Lazy:
    """The tensors of these pairs in the wanted layout. Raises TadropError naming what
    is missing.
    """
    have = layout_of(tensors, where)
    makers: dict[str, Callable[[], Tensor]] = {}
    for pair in pairs:
        for name in pair.names(have):
            if name not in tensors:
                raise TadropError(f"{where}: tensor {name!r} is missing")
        makers.update(_made(tensors, pair, have, want))
    return Lazy(dict(sorted(makers.items())))


def refuse_extra(
    tensors: Iterable[str], pairs: Iterable[Pair], have: str, where: object
) -> None:
    """Raises TadropError for a tensor that no pair knows."""
    known = {name for pair in pairs for name in pair.names(have)}
    for name in tensors:
        if name not in known:
            raise TadropError(f"{where}: tensor {name!r} is not part of a CLIP model")


def split_places(
    places: Mapping[str, Tensor], pairs: Iterable[Pair]
) -> dict[str, Tensor]:
    """Views of a module's fused tensors under split names: writing to one writes the
    module.
    """
    found: dict[str, Tensor] = {}
    for pair in pairs:
        whole = places[pair.fused]
        parts = whole.chunk(len(pair.split)) if len(pair.split) > 1 else (whole,)
        found.update(
            zip(
                pair.split,
                (p.T for p in parts) if pair.split[0] in TRANSPOSED else parts,
                strict=True,
            )
        )
    return found
