"""What a merge produced, as it is held in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tadrop.protocols.workbench import Attachment
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import LowRank


@dataclass(frozen=True)
class Merged:
    """What a merge produced: per tensor a delta for each model.

    deltas[name]:   [model, *shape] float32, model = 1 (shared) or T (one per task)
    low_rank[name]: instead of a delta two thin factors per task, of which it is the
                    product
    masks[name]:    [task, ceil(n / 8)] uint8, one bit an entry as numpy.packbits lays
                    them out; only where there are masks
    factors:        [T] one factor per task, [1] one for all, or None
    density:        fraction of entries of the task vectors that were not zero when they
                    were merged
    attachment:     what goes around the module beside its weights, or None
    found:          what a search settled on, for the record
    on_disk:        bytes of the file that this was read from; None where it was in none
    """

    tasks: tuple[str, ...]
    deltas: dict[str, Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)
    factors: Tensor | None = None
    density: float = 1.0
    low_rank: dict[str, LowRank] = field(default_factory=dict)
    attachment: Attachment | None = None
    found: Mapping[str, Any] = field(default_factory=dict)
    on_disk: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The merged tensors."""
        return (*self.deltas, *self.low_rank)

    def delta(
        self,
        task: str,
        name: str,
        start: int = 0,
        stop: int | None = None,
    ) -> Tensor:
        """Task t's delta of one tensor, or its flat entries start to stop.

        It is the delta before the scale. start is a multiple of 8.
        """
        index = self.tasks.index(task)
        delta = self._unmasked(index, name)
        if start or stop is not None:
            delta = delta.reshape(-1)[start:stop]
        if name in self.masks:
            last = (start + delta.numel() + 7) // 8
            packed = self.masks[name][index, start // 8 : last]
            mask = torch.from_numpy(np.unpackbits(packed.numpy(), count=delta.numel()))
            delta = delta * mask.to(delta.device).view(delta.shape)
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
        if self.masks or self.low_rank:
            return False
        if self.factors is not None and len(self.factors) > 1:
            return False
        return all(len(delta) == 1 for delta in self.deltas.values())

    def attached(self, module: nn.Module, task: str) -> AbstractContextManager[None]:
        """Puts the attachment, if there is one, around a module.

        The module has this result's weights in it.
        """
        if self.attachment is None:
            return nullcontext()
        return self.attachment.attach(module, task)

    def stored_bytes(self) -> int:
        """Bytes that this result takes beside the base.

        These are float32 deltas and factors, one-bit masks and the attachment. A delta
        that is zero throughout is not stored. Where it was read from a file, its bytes
        are those of the file.
        """
        if self.on_disk is not None:
            return self.on_disk
        size = 0 if self.attachment is None else self.attachment.stored_bytes()
        for tensor in self._stored():
            size += tensor.numel() * tensor.element_size()
        return size

    def _stored(self) -> Iterator[Tensor]:
        for delta in self.deltas.values():
            if torch.count_nonzero(delta):
                yield delta
        yield from self.masks.values()
        for thin in self.low_rank.values():
            yield from thin
        if self.factors is not None:
            yield self.factors.float()


def pack(masks: Tensor) -> Tensor:
    """Bool masks [task, *shape] as bits [task, ceil(n / 8)] uint8.

    The bits are laid out as numpy.packbits does.
    """
    rows = masks.reshape(len(masks), -1).cpu().numpy()
    return torch.from_numpy(np.packbits(rows, axis=1))


def unpack(bits: Tensor, shape: Sequence[int]) -> Tensor:
    """Undoes pack(): bits [task, ceil(n / 8)] as masks [task, *shape], on the CPU."""
    columns = np.unpackbits(bits.cpu().numpy(), axis=1, count=prod(shape))
    return torch.from_numpy(columns.view(bool)).view(len(bits), *shape)


def materialise(
    base: Checkpoint,
    merged: Merged,
    task: str,
    scale: float,
) -> Iterator[tuple[str, Tensor]]:
    """theta0 + scale * delta for every merged tensor, one at a time, float32."""
    for name in merged.names:
        delta = merged.delta(task, name)
        yield name, base[name].to(delta.device, torch.float32) + scale * delta
