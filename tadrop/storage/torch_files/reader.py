"""The one reader of torch files: whatever torch wrote, read as data and refused by name.

Nothing that a file names is imported or called, and torch's own readers are not used.
"""

import gc
import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from tadrop.storage.pickles.nodes import UnreadableError
from tadrop.storage.torch_files import legacy_stream, legacy_tar, zipped
from tadrop.storage.torch_files.refusal import reading
from tadrop.storage.torch_files.source import Source, check_room, mapped
from tadrop.storage.torch_files.state import classes, state
from tadrop.storage.torch_files.tensors import StoredTensor

POINTER = b"version https://git-lfs"


class TorchFile(NamedTuple):
    """The state dict of a torch file.

    tensors:  by name; mapped, which takes no memory until they are used
    aliases:  names in tensors -> the first name by alphabet of those that share all bytes
    left_out: buffers that a module does not keep, and what was asked to be left out
    classes:  the classes of objects in the file, none of which was imported
    """

    tensors: dict[str, Tensor]
    aliases: dict[str, str]
    left_out: tuple[str, ...]
    classes: list[str]


def read(
    path: Path,
    key: str | None = None,
    leave_out: Iterable[str] = (),
    among: str | None = None,
) -> TorchFile:
    """Reads a torch file of any generation.

    key:       the entry that holds the state, which must be there
    among:     the one to take of several that could hold it
    leave_out: patterns of the names of tensors that are not wanted
    Raises TadropError naming the file if it cannot be read in full.
    """
    with reading(path), without_collection():
        source = _source(path)
        content = state(source.root, key, leave_out, among)
        check_room(content.tensors, path.stat().st_size)
        tensors = mapped(path, source.spans, content.tensors)
        aliases = _aliases(content.tensors)
        return TorchFile(tensors, aliases, content.left_out, classes(source.root))


@contextmanager
def without_collection() -> Iterator[None]:
    """Python looks for no circles of garbage in the block.

    A pickle makes very many objects and drops none, so that each search would go
    through all of them in vain: most of the time that reading takes.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _source(path: Path) -> Source:
    with path.open("rb") as file:
        if not file.read(1):
            raise UnreadableError("an empty file; fetch it again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[: len(POINTER)] == POINTER:
                raise UnreadableError("a pointer of Git LFS; run git lfs pull")
            if data[:4] == zipped.SIGNATURE:
                return zipped.read(path, data)
            if legacy_tar.is_tar(data):
                return legacy_tar.read(data)
            return legacy_stream.read(data)


def _aliases(tensors: dict[str, StoredTensor]) -> dict[str, str]:
    """Every name whose tensor has an earlier name too, and that name."""
    first_names: dict[StoredTensor, str] = {}
    aliases: dict[str, str] = {}
    for name, dense in sorted(tensors.items()):
        if not dense.entries:
            continue
        first_name = first_names.setdefault(dense, name)
        if first_name != name:
            aliases[name] = first_name
    return aliases
