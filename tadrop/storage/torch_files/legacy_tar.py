"""Torch's first format (before 0.1.9), a tar archive of three files, as data.

`storages` holds a count, then for each storage a pickle (name, device, class), a count
of entries and these; then views of them. `tensors` holds a count, then for each tensor
a pickle (name, storage, class) and its numbers of axes, sizes, strides and offset.
`pickle` holds the objects, which name tensors and storages.
"""

import mmap
import struct
import tarfile
from typing import Any

from tadrop.storage.pickles.nodes import Global, Made, Stored, UnreadableError
from tadrop.storage.pickles.opcodes import run
from tadrop.storage.torch_files.source import Source, Span
from tadrop.storage.torch_files.tensors import AXES, LONG, storage_dtype, whole

BLOCK = tarfile.BLOCKSIZE
FILES = ("storages", "tensors", "pickle")
MANY = 100  # files of an archive
COUNT = struct.Struct("<q")


def is_tar(data: mmap.mmap) -> bool:
    """Whether it begins with the header of a tar archive,
    as torch's reader asks first.
    """
    try:
        tarfile.TarInfo.frombuf(data[:BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def read(data: mmap.mmap) -> Source:
    """The objects of a file. Raises UnreadableError, or whatever damage leads to."""
    files = _files(data)
    missing = [name for name in FILES if name not in files]
    if missing:
        raise UnreadableError(
            f"a tar archive without {missing[0]!r}, so not one of torch's"
        )
    known: dict[str, Any] = {}  # storages and tensors by name
    spans = _storages(data, files["storages"], known)
    _tensors(data, files["tensors"], known)

    def persistent(identity: Any) -> Any:
        if isinstance(identity, tuple) and identity and isinstance(identity[0], Global):
            return identity[0]
        return known[_name(identity)]

    root, _ = run(data, files["pickle"], persistent)
    return Source(root, spans)


def _files(data: mmap.mmap) -> dict[str, int]:
    """Where each file of the archive begins."""
    starts: dict[str, int] = {}
    position = 0
    for _ in range(MANY):
        block = data[position : position + BLOCK]
        if len(block) < BLOCK or not block.strip(b"\0"):
            break
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        position += BLOCK
        if header.isreg():
            if header.name in starts:
                raise UnreadableError(
                    f"a tar archive with two files {header.name!r:.99}"
                )
            starts[header.name] = position
        position += -(-whole(header.size) // BLOCK) * BLOCK
    return starts


def _name(identity: Any) -> str:
    """The name of a storage or a tensor, which is a number, perhaps as a text."""
    name = str(identity) if type(identity) is int else identity
    if not isinstance(name, str) or len(name) > LONG:
        raise UnreadableError("a storage without a name")
    return name


def _storages(data: mmap.mmap, position: int, known: dict[str, Any]) -> dict[str, Span]:
    """Reads storages and their views into known; gives where their bytes lie."""
    spans: dict[str, Span] = {}
    number, position = run(data, position)
    for _ in range(whole(number)):
        described, position = run(data, position)
        key, _, kind = described
        if not isinstance(kind, Global):
            raise UnreadableError("a storage without a type")
        (count,) = COUNT.unpack_from(data, position)
        position += COUNT.size
        name = _name(key)
        storage = Stored(name, storage_dtype(kind.path), whole(count), 0, count)
        if name in known or position + storage.nbytes > len(data):
            raise UnreadableError(
                f"a storage ({name!r:.99}) that is not whole, or there twice"
            )
        known[name] = storage
        spans[name] = Span(position, storage.nbytes)
        position += storage.nbytes
    views, _ = run(data, position)
    for target, root, start, length in views:
        storage = known[_name(root)]
        if whole(start) + whole(length) > storage.length:
            raise UnreadableError("a view that reaches out of its storage")
        run_of_it = storage._replace(start=storage.start + start, length=length)
        known[_name(target)] = run_of_it
    return spans


def _tensors(data: mmap.mmap, position: int, known: dict[str, Any]) -> None:
    """Reads tensors into known, as the newer format would write them."""
    number, position = run(data, position)
    for _ in range(whole(number)):
        described, position = run(data, position)
        key, storage, _ = described
        axes, _ = struct.unpack_from("<2i", data, position)
        if not 0 <= axes <= AXES:
            raise UnreadableError(f"a tensor of {axes} axes")
        numbers = struct.unpack_from(f"<{2 * axes + 1}q", data, position + 8)
        position += 8 * (2 * axes + 2)
        shape, stride = numbers[:axes], numbers[axes : 2 * axes]
        arguments = (known[_name(storage)], numbers[-1], shape, stride)
        known[_name(key)] = Made(Global("torch._utils._rebuild_tensor"), arguments)
