"""Lossless ways between CLIP's packagings.

Converted tensors are made when they are asked for: splitting is a view, fusing copies
one tensor.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from operator import getitem

import torch
from torch import Tensor

from tadrop.models.clip.names import LAYERS, Pair, text_pairs, vision_pairs
from tadrop.models.private import missing
from tadrop.types import TadropError

Maker = Callable[[], Tensor]


class Lazy(Mapping[str, Tensor]):
    """Named tensors that are made when asked for.

    The last one made is kept, as pieces of it follow each other.
    """

    def __init__(self, makers: Mapping[str, Maker]) -> None:
        self.makers = makers
        self._last: tuple[str, Tensor] | None = None

    def __getitem__(self, name: str) -> Tensor:
        last = self._last  # one read, so that threads cannot mix two tensors up
        if last is None or last[0] != name:
            last = self._last = (name, self.makers[name]())
        return last[1]

    def __contains__(self, name: object) -> bool:
        return name in self.makers

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __len__(self) -> int:
        return len(self.makers)


# Prefixes that wrappers put before a name: `module.`, and `model.` before open_clip's.
WRAPPERS = re.compile(
    r"^(module\.)?"
    r"(model\.(?=visual\.|token_|positional_|ln_final|text_|logit_|transformer\.))?"
)
# Names that version 5 of transformers writes without `vision_model.`.
BARE = re.compile(r"^(?=(embeddings|encoder|pre_layrnorm|post_layernorm)\.)")


def plain(name: str) -> str:
    """A name without the prefixes that wrappers put before it,
    in version 4 spelling.
    """
    return BARE.sub("vision_model.", WRAPPERS.sub("", name))


def normalise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The floating-point tensors under plain names.

    Index buffers of old files are dropped.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            weights[plain(name)] = tensor
    return weights


def packaging_of(tensors: Iterable[str], where: object) -> str:
    """Which packaging these names are of."""
    names = list(tensors)
    if any(name.startswith("vision_model.") for name in names):
        return "split"
    if any(name.startswith("visual.") for name in names):
        return "fused"
    shown = ", ".join(map(repr, names[:3]))
    raise TadropError(
        f"{where}: not a CLIP vision tower; its tensors are called {shown} ..."
    )


def depth(names: Iterable[str], prefix: str) -> int:
    """How many layers there are under a prefix."""
    numbered = re.compile(re.escape(prefix) + r"(\d+)\.")
    deepest = -1
    for name in names:
        match = numbered.match(name)
        if match is not None:
            deepest = max(deepest, int(match[1]))
    return deepest + 1


def _fused(tensors: Mapping[str, Tensor], pair: Pair) -> Tensor:
    """A pair's fused tensor, from its split ones."""
    parts = [tensors[name] for name in pair.split]
    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    return whole.T if pair.transposed else whole


def _part(tensors: Mapping[str, Tensor], pair: Pair, name: str) -> Tensor:
    """One of a pair's split tensors: a view of its fused one."""
    return split_slots(tensors[pair.fused], pair)[name]


def split_slots(fused: Tensor, pair: Pair) -> dict[str, Tensor]:
    """Views of a fused tensor under split names: writing to one writes the tensor."""
    whole = fused.T if pair.transposed else fused
    parts = whole.chunk(len(pair.split)) if len(pair.split) > 1 else [whole]
    return dict(zip(pair.split, parts, strict=True))


def _makers(
    tensors: Mapping[str, Tensor], pair: Pair, have: str, want: str
) -> Iterator[tuple[str, Maker]]:
    """Makers of a pair's tensors in the wanted packaging from those at hand."""
    for name in pair.names(want):
        if have == want:
            yield name, partial(getitem, tensors, name)
        elif want == "fused":
            yield name, partial(_fused, tensors, pair)
        else:
            yield name, partial(_part, tensors, pair, name)


def convert(
    tensors: Mapping[str, Tensor], pairs: Iterable[Pair], want: str, where: object
) -> Lazy:
    """The tensors of these pairs in the wanted packaging.

    Raises TadropError naming what is missing; where: the file, for the message.
    """
    have = packaging_of(tensors, where)
    makers: dict[str, Maker] = {}
    for pair in pairs:
        for name in pair.names(have):
            if name not in tensors:
                raise missing(where, name)
        makers.update(_makers(tensors, pair, have, want))
    return Lazy(dict(sorted(makers.items())))


def check_tower(
    tensors: Mapping[str, Tensor], layers: tuple[int, int], model: str, where: object
) -> None:
    """Raises TadropError for a file of another architecture than a model's.

    layers: of its vision and of its text tower. A tensor that neither has is refused.
    """
    packaging = packaging_of(tensors, where)
    vision, text = layers
    count = depth(tensors, LAYERS[packaging])
    if count != vision:
        raise TadropError(
            f"{where}: a vision tower of {count} layers; model={model} has {vision}"
        )
    known: set[str] = set()
    for pair in (*vision_pairs(vision, True), *text_pairs(text)):
        known.update(pair.names(packaging))
    for name in tensors:
        if name not in known:
            raise TadropError(f"{where}: tensor {name!r} is not part of a CLIP model")
