"""Torch's files before zip (0.1.9 to 1.5, and later ones on request), as data.

Five pickles in a row (a magic number, a version, sizes of C's types, the objects, the
names of the storages), then each storage: its count of entries in eight bytes, and
these. Classes of pickled modules come with their source code, which is passed over.
"""

import mmap
import struct
from typing import Any

from tadrop.storage.pickles.nodes import Global, Stored, UnreadableError
from tadrop.storage.pickles.opcodes import run
from tadrop.storage.torch_files.source import Source, Span
from tadrop.storage.torch_files.tensors import storage_dtype, stored, whole

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
COUNT = struct.Struct("<q")


class Storages:
    """The storages that the objects name, as their persistent ids say."""

    def __init__(self) -> None:
        self.named: dict[str, Stored] = {}

    def persistent(self, identity: Any) -> Stored | Global:
        """What a persistent id stands for: a storage or a run of one, or a class."""
        if isinstance(identity, tuple) and identity[:1] == ("module",):
            kind = identity[1] if len(identity) > 1 else None
            if not isinstance(kind, Global):
                raise UnreadableError("a class without a name")
            return kind
        path, key, count, rest = stored(identity)
        storage = Stored(key, storage_dtype(path), count, 0, count)
        known = self.named.setdefault(key, storage)
        if known.nbytes != storage.nbytes:
            raise UnreadableError(f"a storage of two sizes ({key!r:.99})")
        view = rest[0] if rest else None
        return storage if view is None else _run(storage, view)


def _run(storage: Stored, view: Any) -> Stored:
    """The run of a storage that a view is: (its own name, first entry, entries)."""
    if not isinstance(view, tuple) or len(view) != 3:
        raise UnreadableError("a view of a storage that says nothing of its place")
    start, length = whole(view[1]), whole(view[2])
    if start + length > storage.entries:
        raise UnreadableError("a view that reaches out of its storage")
    return storage._replace(start=start, length=length)


def read(data: mmap.mmap) -> Source:
    """The objects of a file. Raises UnreadableError, or whatever damage leads to."""
    magic, position = run(data)
    if type(magic) is not int or magic != MAGIC:
        raise UnreadableError("no file of torch's; was it saved with torch.save?")
    version, position = run(data, position)
    if type(version) is not int or version != PROTOCOL:
        raise UnreadableError("of an unknown version of torch's format")
    _, position = run(data, position)
    storages = Storages()
    root, position = run(data, position, storages.persistent)
    keys, position = run(data, position)
    return Source(root, _spans(data, position, keys, storages))


def _spans(
    data: mmap.mmap,
    position: int,
    keys: Any,
    storages: Storages,
) -> dict[str, Span]:
    """Where each storage lies; they must fill the rest of the file."""
    spans: dict[str, Span] = {}
    for key in keys if isinstance(keys, list) else ():
        storage = storages.named.get(key) if isinstance(key, str) else None
        if storage is None or key in spans:
            raise UnreadableError("a storage that nothing in the file names")
        (count,) = COUNT.unpack_from(data, position)
        position += COUNT.size
        if count != storage.entries or position + storage.nbytes > len(data):
            raise UnreadableError(
                f"a storage ({key!r:.99}) that is not whole; fetch the file again"
            )
        spans[key] = Span(position, storage.nbytes)
        position += storage.nbytes
    if len(spans) != len(storages.named):
        raise UnreadableError("storages are missing from the file; fetch it again")
    if position != len(data):
        raise UnreadableError("bytes after its end, perhaps of a second file")
    return spans
