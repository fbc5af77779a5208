"""Torch's zip files (1.6 and later), TorchScript's archives among them, as data.

TorchScript's programs and their constants are not read: only what the module holds.
"""

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadrop.storage.pickles.nodes import Stored, UnreadableError
from tadrop.storage.pickles.opcodes import run
from tadrop.storage.torch_files.archive import Member, members
from tadrop.storage.torch_files.source import Source, Span
from tadrop.storage.torch_files.tensors import storage_dtype, stored

SIGNATURE = b"PK\x03\x04"
PICKLE = "data.pkl"


def read(path: Path, data: mmap.mmap) -> Source:
    """The objects of a zip file. Raises UnreadableError,
    or whatever damage leads to.
    """
    named = members(path, data)
    if PICKLE not in named:
        raise UnreadableError(f"a zip file without {PICKLE}, so not one of torch's")
    order = _bytes(named["byteorder"], data) if "byteorder" in named else b"little"
    if order != b"little":
        raise UnreadableError(
            "written in another order of bytes; save it on this machine"
        )
    spans: dict[str, Span] = {}

    def persistent(identity: Any) -> Stored:
        storage = _storage(identity, named)
        member = named[f"data/{storage.key}"]
        spans[storage.key] = Span(member.start, member.nbytes)
        return storage

    program = _bytes(named[PICKLE], data)
    root, _ = run(program, 0, persistent)
    return Source(root, spans)


def _bytes(member: Member, data: mmap.mmap) -> bytes:
    """The bytes of a member, which torch never packs."""
    if not member.stored:
        raise UnreadableError(
            f"a zip file whose {member.name!r:.99} is compressed, which torch does not "
            "do; unzip it and zip it with -0"
        )
    return data[member.start : member.start + member.nbytes]


def _storage(identity: Any, named: Mapping[str, Member]) -> Stored:
    """The storage of a persistent id, which must be all of a member."""
    path, key, count, rest = stored(identity)
    dtype = storage_dtype(path)
    member = named.get(f"data/{key}")
    if rest or member is None:
        raise UnreadableError(f"a storage that is not in the file ({key!r:.99})")
    if not member.stored:
        raise UnreadableError(
            f"a zip file whose {member.name!r:.99} is compressed, which torch does not "
            "do; unzip it and zip it with -0"
        )
    storage = Stored(key, dtype, count, 0, count)
    if storage.nbytes != member.nbytes:
        raise UnreadableError(
            f"a storage of {member.nbytes} bytes ({member.name!r:.99}) "
            f"where {storage.nbytes} belong; fetch the file again"
        )
    return storage
