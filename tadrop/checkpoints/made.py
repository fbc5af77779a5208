"""Tensors that are made when they are asked for: adapters, other vocabularies.

The last few of them are kept, since a tensor is read piece by piece, by several threads.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from threading import Lock

import torch
from torch import Tensor

from tadrop.storage.checkpoint import Checkpoint

KEPT = 2  # tensors of one checkpoint that are held at a time

Maker = Callable[[], Tensor]


class Made(Mapping[str, Tensor]):
    """Tensors by name: some lie on disk, the others are made when asked for.

    stored: those on disk; makers: how the others are made, which may have their names
    """

    def __init__(
        self, stored: Mapping[str, Tensor], makers: Mapping[str, Maker]
    ) -> None:
        self.stored, self.makers = stored, makers
        self._names = sorted({*stored, *makers})
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = Lock()

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.makers:
            return self.stored[name]
        with self._lock:
            if name not in self._kept:
                self._kept[name] = self.makers[name]()
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def empty(like: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """A tensor without bytes that says a shape and a dtype."""
    size = like.shape if shape is None else shape
    return torch.empty(size, dtype=like.dtype, device="meta")


def with_made(
    checkpoint: Checkpoint,
    makers: Mapping[str, Maker],
    likes: Mapping[str, Tensor],
) -> Checkpoint:
    """The checkpoint with some tensors made when asked for.

    likes: an empty tensor for each of them
    """
    if not makers:
        return checkpoint
    told: dict[str, Tensor] = {}
    for name in checkpoint.tensors:
        told[name] = checkpoint.like(name)
    tensors = Made(checkpoint.tensors, makers)
    return replace(
        checkpoint,
        tensors=tensors,
        likes=told | dict(likes),
        lasting=False,
    )


class View(Mapping[str, Tensor]):
    """Some tensors of a mapping under other names, {new: old},
    made no sooner than there.
    """

    def __init__(self, source: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        self.source, self.names = source, names

    def __getitem__(self, name: str) -> Tensor:
        return self.source[self.names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def picked(checkpoint: Checkpoint, names: Mapping[str, str]) -> Checkpoint:
    """The checkpoint with these of its tensors under these names, {new: old}."""
    ordered: dict[str, str] = {}
    for name in sorted(names):
        ordered[name] = names[name]
    new: dict[str, str] = {}
    for name, old in ordered.items():
        new[old] = name
    aliases: dict[str, str] = {}
    for alias, name in checkpoint.aliases.items():
        if name in new:
            aliases[new.get(alias, alias)] = new[name]
    if checkpoint.likes is None:
        tensors: dict[str, Tensor] = {}
        for one, old in ordered.items():
            tensors[one] = checkpoint.tensors[old]
        return replace(checkpoint, tensors=tensors, aliases=aliases)
    likes: dict[str, Tensor] = {}
    for one, old in ordered.items():
        likes[one] = checkpoint.likes[old]
    view = View(checkpoint.tensors, ordered)
    return replace(checkpoint, tensors=view, aliases=aliases, likes=likes)


def renamed(checkpoint: Checkpoint, names: Mapping[str, str]) -> Checkpoint:
    """The checkpoint with all of its tensors under other names, {old: new}."""
    old: dict[str, str] = {}
    for name in checkpoint.tensors:
        old[names.get(name, name)] = name
    return picked(checkpoint, old)


def without(checkpoint: Checkpoint, names: Collection[str]) -> Checkpoint:
    """The checkpoint without some of its tensors."""
    left: dict[str, str] = {}
    for name in checkpoint.tensors:
        if name not in names:
            left[name] = name
    return (
        picked(checkpoint, left) if len(left) < len(checkpoint.tensors) else checkpoint
    )


def with_taken(
    checkpoint: Checkpoint, names: Mapping[str, str], source: Checkpoint
) -> Checkpoint:
    """The checkpoint with tensors of another one, {name here: name there}."""
    if checkpoint.likes is None and source.likes is None:
        tensors = dict(checkpoint.tensors)
        for name, there in names.items():
            tensors[name] = source.tensors[there]
        return replace(checkpoint, tensors=dict(sorted(tensors.items())))
    makers: dict[str, Maker] = {}
    likes: dict[str, Tensor] = {}
    for name, there in names.items():
        makers[name] = partial(source.tensors.__getitem__, there)
        likes[name] = empty(source.like(there))
    return with_made(checkpoint, makers, likes)
