"""What a merge produced, as it is held in memory."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tadrop.protocols import Attachment
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import Deltas, LowRank, Masked

MergedPiece = Deltas | Masked | LowRank


@dataclass(frozen=True)
class Merged:
    """What a merge produced: per tensor a delta for each model, with masks at one bit
    an entry where there are any.

    deltas[name]: [model, *shape] float32, model = 1 (shared) or T (one per task)
    low_rank[name]: in the place of a delta, two thin factors per task whose product it
    is
    masks[name]: [task, ceil(n / 8)] uint8, bit i of an entry's byte as numpy.packbits
    lays it out
    factors: [T] one factor per task, [1] one for all, or None
    density: fraction of entries of the task vectors that were not zero when they were
    merged
    attachment: what goes around the module beside its weights, or None
    found: what a search settled on, for the record
    """

    tasks: tuple[str, ...]
    deltas: dict[str, Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)
    factors: Tensor | None = None
    density: float = 1.0
    low_rank: dict[str, LowRank] = field(default_factory=dict)
    attachment: Attachment | None = None
    found: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The merged tensors."""
        return (*self.deltas, *self.low_rank)

    def delta(
        self, task: str, name: str, start: int = 0, stop: int | None = None
    ) -> Tensor:
        """Task t's delta of one tensor, or its flat entries start (a multiple of 8) to
        stop, before the scale.
        """
        index = self.tasks.index(task)
        delta = self._unmasked(index, name)
        if start or stop is not None:
            delta = delta.reshape(-1)[start:stop]
        if name in self.masks:
            packed = self.masks[name][
                index, start // 8 : (start + delta.numel() + 7) // 8
            ]
            bits = np.unpackbits(packed.numpy(), count=delta.numel())
            delta = delta * torch.from_numpy(bits).to(delta.device).view(delta.shape)
        if self.factors is None:
            return delta
        return delta * self.factors[index if len(self.factors) > 1 else 0].to(delta)

    def _unmasked(self, index: int, name: str) -> Tensor:
        if name in self.low_rank:
            left, right = self.low_rank[name]
            return left[index] @ right[index]
        stacked = self.deltas[name]
        return stacked[index if len(stacked) > 1 else 0]

    @property
    def is_shared(self) -> bool:
        """Whether all tasks get the same weights."""
        one_factor = self.factors is None or len(self.factors) == 1
        one_delta = (
            not self.masks
            and not self.low_rank
            and all(len(d) == 1 for d in self.deltas.values())
        )
        return one_delta and one_factor

    def attached(self, module: nn.Module, task: str) -> AbstractContextManager[None]:
        """Puts the attachment, if there is one, around a module that has this result's
        weights in it.
        """
        return (
            nullcontext()
            if self.attachment is None
            else self.attachment.attach(module, task)
        )

    def stored_bytes(self) -> int:
        """Bytes that this result takes beside the base: float32 deltas and factors,
        one-bit masks, the attachment.

        A delta that is zero throughout is not stored.
        """
        deltas = (delta for delta in self.deltas.values() if torch.count_nonzero(delta))
        thin = (factor for pair in self.low_rank.values() for factor in pair)
        tensors = (*deltas, *self.masks.values(), *thin)
        factors = 0 if self.factors is None else 4 * len(self.factors)
        attachment = 0 if self.attachment is None else self.attachment.stored_bytes()
        return sum(t.numel() * t.element_size() for t in tensors) + factors + attachment


def pack(masks: Tensor) -> Tensor:
    """Bool masks [task, *shape] as bits [task, ceil(n / 8)] uint8, laid out as
    numpy.packbits does.
    """
    return torch.from_numpy(
        np.packbits(masks.reshape(len(masks), -1).cpu().numpy(), axis=1)
    )


def materialise(
    base: Checkpoint, merged: Merged, task: str, scale: float
) -> Iterator[tuple[str, Tensor]]:
    """theta0 + scale * delta for every merged tensor, one at a time, float32."""
    for name in merged.names:
        delta = merged.delta(task, name)
        yield name, base[name].to(delta.device, torch.float32) + scale * delta
