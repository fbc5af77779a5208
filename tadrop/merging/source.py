"""What an export writes: merged pieces, from a merge that runs or from one that is held.

A source puts its pieces into a sink, in any order and from several threads at once. The
sinks are the kinds of exports: full.py and compact.py.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tadrop.merging.engine import NO_KNOBS, Knobs, Put, Summary, merge_into
from tadrop.merging.method import Method
from tadrop.merging.weighting import Table, Weighted
from tadrop.protocols.streams import Stream
from tadrop.storage.checkpoint_writer import SHARD, Shape
from tadrop.types import Deltas, LowRank, Masked, MergedPiece, TadropError
from tadrop.vectors.merged import Merged
from tadrop.vectors.passes import PIECE

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# How many weights an export holds, each kind more than the one before it: one delta for
# all tasks, one delta and a mask for each task, or a delta for each task.
KINDS = ("shared", "masked", "each")


@dataclass(frozen=True)
class Plan:
    """How to write an export.

    scale:  lambda
    dtype:  None is the base's own, and float32 in the compact form
    expand: every task's full checkpoint is written too
    shard:  the most bytes of one file
    made:   how the merge was made, for the metadata
    cut:    the share of entries that was cut, by vector and task, for the note alone
    pages:  from what is noted of an export, text files that stand beside it
    inputs: the files and folders that are read, which the export must not touch
    """

    out: Path
    scale: float = 1.0
    dtype: torch.dtype | None = None
    expand: bool = False
    shard: int = SHARD
    overwrite: bool = False
    made: Mapping[str, Any] = field(default_factory=dict)
    cut: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pages: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda note: {}
    inputs: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Source:
    """Something that puts merged pieces into a sink.

    rescaled: whether every task's delta is multiplied by a factor of its own in the end
    run:      does the work, and returns what is known only then
    """

    tasks: tuple[str, ...]
    shapes: Mapping[str, Shape]
    rescaled: bool
    run: Callable[[Put], Summary]


class WiderError(Exception):
    """A piece does not fit the kind of file that was begun;
    `kind` is one that holds it.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def dtype_of(word: str | None) -> torch.dtype | None:
    """The dtype that fp32, fp16 or bf16 stands for; None for the base's own."""
    if word is None:
        return None
    if word not in DTYPES:
        raise TadropError(
            f"export.dtype is {word!r}; "
            f"it must be {', '.join(DTYPES)}, or null for the base's"
        )
    return DTYPES[word]


def dense(merged: MergedPiece) -> Deltas | Masked:
    """Thin factors multiplied out, since a file holds every task's delta."""
    return merged.left @ merged.right if isinstance(merged, LowRank) else merged


def kind_of(merged: Deltas | Masked) -> str:
    """The narrowest kind of KINDS that holds this piece."""
    if isinstance(merged, Masked):
        return "masked"
    return "each" if len(merged) > 1 else "shared"


def streamed(
    stream: Stream,
    method: Method,
    on_tensor: Callable[[str], None] = lambda name: None,
    weights: Table | None = None,
    knobs: Knobs = NO_KNOBS,
) -> Source:
    """A merge that runs while it is written; nothing of it is held.

    weights: by which task vectors are multiplied, see weighting.py
    knobs:   settings of the formula by tensor, see engine.py
    """
    weighted = stream if weights is None else Weighted(stream, weights)

    def run(put: Put) -> Summary:
        return merge_into(
            put, weighted, method, on_tensor, weights=weights, knobs=knobs
        )

    return Source(stream.tasks, stream.shapes, method.rescale is not None, run)


def held(merged: Merged) -> Source:
    """A merge in memory."""

    def run(put: Put) -> Summary:
        for name, start, piece in _pieces(merged):
            put(name, start, piece)
        return Summary(merged.factors, merged.density)

    return Source(merged.tasks, _shapes(merged), merged.factors is not None, run)


def _shapes(merged: Merged) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for name, deltas in merged.deltas.items():
        shapes[name] = tuple(deltas.shape[1:])
    for name, thin in merged.low_rank.items():
        shapes[name] = (thin.left.shape[1], thin.right.shape[2])
    return shapes


def _pieces(merged: Merged) -> Iterator[tuple[str, int, MergedPiece]]:
    """(tensor name, first flat index, piece) of everything in a merge."""
    for name, deltas in merged.deltas.items():
        flat = deltas.reshape(len(deltas), -1)
        for start in range(0, flat.shape[1], PIECE):
            piece = flat[:, start : start + PIECE]
            if name in merged.masks:
                masks = unpack(merged.masks[name], start, piece.shape[1])
                yield name, start, Masked(piece[0], masks)
            else:
                yield name, start, piece
    for name, thin in merged.low_rank.items():
        yield name, 0, thin


def unpack(packed: Tensor, start: int, count: int) -> Tensor:
    """Masks [task, count] from packed bits, from entry start (a multiple of 8)."""
    bits = packed[:, start // 8 : packed_bytes(start + count)].numpy()
    return torch.from_numpy(np.unpackbits(bits, axis=1, count=count)).bool()


def packed_bytes(bits: int) -> int:
    """How many bytes so many bits take."""
    return (bits + 7) // 8
