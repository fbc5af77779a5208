"""A sink that holds what a merge produces: see engine.py."""

from collections.abc import Mapping
from math import prod
from threading import Lock

from torch import Tensor

from tadrop.types import LowRank, Masked, MergedPiece, TadropError
from tadrop.vectors.merged import pack


class Memory:
    """A sink that holds everything: deltas and packed masks by name."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes, self.lock = shapes, Lock()
        self.deltas: dict[str, Tensor] = {}
        self.masks: dict[str, Tensor] = {}
        self.low_rank: dict[str, LowRank] = {}

    def put(self, name: str, start: int, merged: MergedPiece) -> None:
        """Takes a merged piece, on any thread. start: its first flat index"""
        if isinstance(merged, LowRank):
            self.low_rank[name] = merged
            return
        size = prod(self.shapes[name])
        if isinstance(merged, Masked):
            bits = pack(merged.masks)
            self._write(self.masks, name, start // 8, bits, (size + 7) // 8)
            rows = merged.shared.reshape(1, -1)
        else:
            rows = merged.reshape(len(merged), -1)
        self._write(self.deltas, name, start, rows, size)

    def _write(
        self,
        table: dict[str, Tensor],
        name: str,
        start: int,
        rows: Tensor,
        size: int,
    ) -> None:
        """Writes rows [k, n] into table[name] [k, size] at column start."""
        with self.lock:
            if name not in table:
                table[name] = rows.new_empty(len(rows), size)
        held = table[name]
        if len(held) != len(rows):
            raise TadropError(
                f"the method returned {len(rows)} models "
                f"for a part of tensor {name!r}, others elsewhere"
            )
        held[:, start : start + rows.shape[1]] = rows
