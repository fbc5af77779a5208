"""What a torch file holds, and the mapping of its bytes to tensors.

Each reader of a format gives a Source. Zip files' storages are mapped and cost nothing
until they are used; those that lie unaligned, as before torch 1.6, are copied.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tadrop.storage.pickles.nodes import Stored, UnreadableError
from tadrop.storage.torch_files.tensors import StoredTensor

ALIGNMENT = 16  # bytes, the widest entry's
ROOM = 1 << 26  # bytes that tensors may have beyond four times those of the file


class Span(NamedTuple):
    """Where a storage's bytes lie in its file."""

    start: int
    nbytes: int


class Source(NamedTuple):
    """A file's objects as inert nodes, and its storages by name."""

    root: Any
    spans: Mapping[str, Span]


def check_room(tensors: Mapping[str, StoredTensor], size: int) -> None:
    """Raises UnreadableError if tensors have far more bytes than their file of `size` bytes.

    Tensors may share a storage, or repeat its entries by a stride of 0, so that a small
    file could stand for more than any memory holds.
    """
    distinct = set(tensors.values())
    total = sum(dense.nbytes for dense in distinct)
    if total <= 4 * size + ROOM:
        return
    largest = max(tensors, key=lambda name: tensors[name].nbytes)
    raise UnreadableError(
        f"tensors that share or repeat its bytes until they have {total} "
        f"(the largest is {largest!r:.200}); save their clone()"
    )


def mapped(
    path: Path,
    spans: Mapping[str, Span],
    tensors: Mapping[str, StoredTensor],
) -> dict[str, Tensor]:
    """The tensors themselves; those that share bytes in the file share memory."""
    size = path.stat().st_size
    data = torch.UntypedStorage(0)
    if spans:
        data = torch.UntypedStorage.from_file(str(path), False, size)
        assert isinstance(data, torch.UntypedStorage)  # its signature promises less
    storages: dict[str, torch.UntypedStorage] = {}
    result: dict[str, Tensor] = {}
    for name, dense in tensors.items():
        key = dense.storage.key
        if key not in storages:
            storages[key] = _storage(data, spans[key])
        run = _run(storages[key], dense.storage)
        empty = torch.empty(0, dtype=dense.dtype)
        result[name] = empty.set_(run, dense.offset, dense.shape, dense.stride)
    return result


def _storage(data: torch.UntypedStorage, span: Span) -> torch.UntypedStorage:
    """A storage, aligned."""
    end = span.start + span.nbytes
    if end > data.nbytes():
        raise UnreadableError("changed while it was read")
    if not span.nbytes:
        return torch.UntypedStorage(0)
    storage = data[span.start : end]
    return storage if span.start % ALIGNMENT == 0 else storage.clone()


def _run(storage: torch.UntypedStorage, part: Stored) -> torch.UntypedStorage:
    """The run of a storage that a tensor knows as its own."""
    if part.length == part.entries:
        return storage
    start = part.start * part.dtype.itemsize
    return storage[start : start + part.length * part.dtype.itemsize]
