"""Checkpoints in: named tensors on disk, whose bytes are read when they are used.

Safetensors and torch files are read (as data: nothing in them is executed), one file or
shards with an index. Everything is memory-mapped but what lies unaligned in files from
before torch 1.6. A directory is
opened by looking for the usual file names in it. Tensors that share their bytes (tied
embeddings) count once: the first name in order stands for the others, its aliases.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tadrop.errors import TadropError
from tadrop.storage.torch_files.refusal import first_line as first_line
from tadrop.storage.torch_files.refusal import is_file, reading

if TYPE_CHECKING:
    from torch import Tensor

    Opened = tuple[dict[str, Tensor], dict[str, str]]  # tensors and aliases

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
INDEX = ".index.json"
FILES = (
    "model.safetensors",
    f"model.safetensors{INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX}",
)
# What names begin with in diffusers and open_clip, and with what safetensors do there.
STEMS = {
    "diffusion_pytorch_model": "diffusion_pytorch_model",
    "open_clip_model": "open_clip_model",
    "open_clip_pytorch_model": "open_clip_model",
}
ENDS = (".safetensors", f".safetensors{INDEX}", ".bin", f".bin{INDEX}")
OTHERS = tuple(map("".join, product(STEMS, ENDS)))
MANIFEST = "SHA256SUMS"
# What a file of git's large file storage begins with where its bytes were not fetched.
POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors on disk.

    tensors: views of mapped files, which take no memory until they are used
    aliases: names that are not in tensors -> the name in tensors whose bytes they share
    lasting: whether a tensor is always the same; False where it is made when asked for
    likes:   empty tensors of the same shapes and dtypes, where tensors are made when
             asked for; None where tensors themselves tell them
    held:    names of tensors that a merge takes from here: buffers, which no formula
             is about
    beside:  what is written beside these tensors, where that is not their folder's own
    notes:   what is doubtful about it, a line each
    seen:    bytes and time of each file when it was opened, {file: (bytes, time)}
    """

    path: Path
    files: tuple[Path, ...]
    tensors: "Mapping[str, Tensor]"
    aliases: Mapping[str, str] = field(default_factory=dict)
    lasting: bool = True
    likes: "Mapping[str, Tensor] | None" = None
    held: frozenset[str] = frozenset()
    beside: "Beside" = field(default_factory=lambda: Beside())
    notes: tuple[str, ...] = ()
    seen: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> "Tensor":
        return self.tensors[name]

    def like(self, name: str) -> "Tensor":
        """A tensor of the same shape and dtype, which need not be made for it."""
        return (self.tensors if self.likes is None else self.likes)[name]

    @property
    def stem(self) -> str:
        """What a file of these weights is called, in the library that reads them."""
        for stem, name in STEMS.items():
            if self.files and self.files[0].name.startswith(stem):
                return name
        return "model"

    def fingerprint(self) -> str:
        """The sha256 of the files' contents, in order, as 16 hex digits."""
        sums = "".join(map(sha256, self.files))
        return hashlib.sha256(sums.encode()).hexdigest()[:16]


def check_unchanged(checkpoint: Checkpoint) -> None:
    """Raises TadropError where a file is not what it was when it was opened."""
    for file, before in checkpoint.seen.items():
        if not is_file(file) or _state(file) != before:
            raise TadropError(
                f"{file}: changed while it was read; merge again when nothing writes "
                "to it"
            )


def _state(file: Path) -> tuple[int, int]:
    """A file's bytes, and the time in ns when it was last written to."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


@dataclass(frozen=True)
class Beside:
    """What is written beside weights, where that is not their folder's own.

    folder:    whose files; None for the checkpoint's own
    tokenizer: whose tokenizer; None for the same folder's
    tokens:    entries of tokenizer.json that are added to it
    config:    what config.json says otherwise
    template:  a chat template in the place of the tokenizer's
    """

    folder: Path | None = None
    tokenizer: Path | None = None
    tokens: tuple[Mapping[str, Any], ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    template: str | None = None


def sha256(path: Path) -> str:
    """The sha256 of a file, computed once for a path, size and modification time."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locate(path: Path) -> Path:
    """The file to open for a path: itself, or what a checkpoint directory holds."""
    if is_file(path):
        return path
    if path.is_dir():
        for name in (*FILES, *OTHERS):
            if is_file(path / name):
                return path / name
        raise TadropError(f"{path}: none of {', '.join(FILES)} is in this directory")
    raise TadropError(f"{path}: no such checkpoint")


def _open_safetensors(path: Path) -> "Opened":
    from safetensors import safe_open

    tensors: dict[str, Tensor] = {}
    with reading(path), safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  it is no mapping
            tensors[name] = file.get_tensor(name)
        metadata = file.metadata() or {}
    aliases: dict[str, str] = {}
    for alias, name in metadata.items():
        if name in tensors and alias not in tensors and alias != "format":
            aliases[alias] = name
    return tensors, aliases


def _open_torch(key: str | None, path: Path) -> "Opened":
    """Every distinct tensor under its first name, and its other names as aliases."""
    # Torch takes seconds to import: names of files are known without it.
    from tadrop.storage.torch_files import reader

    file = reader.read(path, among=key)
    tensors: dict[str, Tensor] = {}
    for name, tensor in file.tensors.items():
        if name not in file.aliases:
            tensors[name] = tensor.contiguous()
    return tensors, file.aliases


def _refuse_pointer(path: Path) -> None:
    """Raises TadropError for a file that only says where its bytes are."""
    with reading(path), path.open("rb") as file:
        head = file.read(300)
    if head.startswith(POINTER):
        size = head.partition(b"size ")[2].split()
        bytes_ = int(size[0]) if size and size[0].isdigit() else 0
        raise TadropError(
            f"{path}: a pointer of git-lfs, not the file itself ({bytes_:,} bytes); "
            "fetch it: git lfs pull"
        )


def _opener(path: Path, key: str | None = None) -> "Callable[[Path], Opened]":
    _refuse_pointer(path)
    if path.suffix == ".safetensors":
        return _open_safetensors
    if path.suffix in SUFFIXES:
        return partial(_open_torch, key)
    raise TadropError(
        f"{path}: unknown kind of checkpoint; expected one of {', '.join(SUFFIXES)}"
    )


def _shards(index: Path) -> dict[str, Path]:
    """The file of every tensor that an index names."""
    with reading(index):
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    if not isinstance(weight_map, dict):
        raise TadropError(
            f"{index}: weight_map is {type(weight_map).__name__}, "
            "not a map of tensor names to files"
        )
    for name, shard in weight_map.items():
        if not _is_plain_name(shard):
            raise TadropError(
                f"{index}: {name!r} points outside the directory ({shard!r})"
            )
    return {name: index.parent / shard for name, shard in weight_map.items()}


def _shown(name: str) -> str:
    """A file's name as it is, or quoted where it holds what a terminal would obey."""
    return name if name.isprintable() else repr(name)


def _is_plain_name(shard: object) -> bool:
    """Whether an index names a file in its own folder."""
    return isinstance(shard, str) and shard != ".." and Path(shard).name == shard != ""


def _open_sharded(index: Path, key: str | None) -> "tuple[tuple[Path, ...], Opened]":
    shards = _shards(index)
    files = tuple(sorted(set(shards.values())))
    for file in files:
        if not is_file(file):
            raise TadropError(f"{index}: shard {_shown(file.name)} is missing")
    opened = {file: _opener(file, key)(file) for file in files}
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name, file in shards.items():
        members, tied = opened[file]
        if name in members:
            tensors[name] = members[name]
        elif name not in tied:
            raise TadropError(
                f"{file}: tensor {name!r} is in the index but not in the shard"
            )
    for _, tied in opened.values():
        aliases |= tied
    return files, (tensors, aliases)


def open_checkpoint(path: str | Path, key: str | None = None) -> Checkpoint:
    """Opens a checkpoint file or directory.

    key: the entry of a torch file to take of several that could hold the state
    Raises TadropError naming the file if it cannot be understood.
    """
    path = Path(path)
    file = locate(path)
    if file.name.endswith(INDEX):
        files, (tensors, aliases) = _open_sharded(file, key)
    else:
        files = (file,)
        tensors, aliases = _opener(file, key)(file)
    tensors = dict(sorted(tensors.items()))
    aliases = dict(sorted(aliases.items()))
    seen = dict(zip(files, map(_state, files), strict=True))
    return Checkpoint(path, files, tensors, aliases, seen=seen)


def verify(path: Path) -> None:
    """Checks a file against the SHA256SUMS beside it.

    Raises TadropError where it differs or is not listed.
    """
    manifest = path.parent / MANIFEST
    if not manifest.is_file():
        raise TadropError(
            f"{manifest}: missing; the checkpoints beside it cannot be checked"
        )
    sums: dict[str, str] = {}  # by file name
    with reading(manifest):
        for line in manifest.read_text(encoding="utf-8").splitlines():
            if line.strip():
                digest, name = line.split(maxsplit=1)
                sums[name] = digest
    if path.name not in sums:
        raise TadropError(f"{manifest}: does not list {path.name}")
    if sha256(path) != sums[path.name]:
        raise TadropError(
            f"{path}: contents differ from {MANIFEST}; "
            f"restore the file, e.g. git checkout {path}"
        )
