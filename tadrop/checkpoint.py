"""Checkpoints on disk, read lazily: a tensor's bytes are touched when the tensor is asked for.

Reads safetensors (one file, or shards with an index) and torch zip files (weights only: nothing is unpickled but
tensors). Everything is memory-mapped; a directory is opened by looking for the usual file names in it.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from tadrop.types import TadropError

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
MANIFEST = "SHA256SUMS"


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors on disk. `tensors` are views of mapped files: reading one costs no memory until it is used."""

    path: Path
    files: tuple[Path, ...]
    tensors: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def fingerprint(self) -> str:
        """The sha256 of the files' contents, in order; 16 hex digits."""
        digest = hashlib.sha256("".join(sha256(file) for file in self.files).encode())
        return digest.hexdigest()[:16]


def sha256(path: Path) -> str:
    """The sha256 of a file; computed once per path, size and modification time."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locate(path: Path) -> Path:
    """The file to open for a path: itself, or what a checkpoint directory holds."""
    if path.is_file():
        return path
    if path.is_dir():
        for name in FILES:
            if (path / name).is_file():
                return path / name
        raise TadropError(f"{path}: none of {', '.join(FILES)} is in this directory")
    raise TadropError(f"{path}: no such checkpoint")


@contextmanager
def _reading(path: Path):
    try:
        yield
    except TadropError:
        raise
    except Exception as error:  # every reader has its own zoo of exceptions; all mean the same to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TadropError(f"{path}: not a readable checkpoint ({reason})") from error


def _open_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    with _reading(path), safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _open_torch(path: Path) -> dict[str, Tensor]:
    with _reading(path):
        state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise TadropError(f"{path}: holds {type(state).__name__}, not a state dict of tensors")
    return state


def _shards(index: Path) -> dict[str, Path]:
    with _reading(index):
        weight_map = json.loads(index.read_text())["weight_map"]
    for name, shard in weight_map.items():
        if Path(shard).name != shard:
            raise TadropError(f"{index}: {name!r} points outside the directory ({shard!r})")
    return {name: index.parent / shard for name, shard in weight_map.items()}


def _open_sharded(index: Path) -> tuple[tuple[Path, ...], dict[str, Tensor]]:
    where = _shards(index)
    files = tuple(sorted(set(where.values())))
    for file in files:
        if not file.is_file():
            raise TadropError(f"{index}: shard {file.name} is missing")
    found = {file: _open_safetensors(file) for file in files}
    for name, file in where.items():
        if name not in found[file]:
            raise TadropError(f"{file}: tensor {name!r} is in the index but not in the shard")
    return files, {name: found[file][name] for name, file in where.items()}


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Opens a checkpoint file or directory. Raises TadropError naming the file if it cannot be understood."""
    path = Path(path)
    file = locate(path)
    if file.name.endswith(".index.json"):
        files, tensors = _open_sharded(file)
    elif file.suffix == ".safetensors":
        files, tensors = (file,), _open_safetensors(file)
    elif file.suffix in SUFFIXES:
        files, tensors = (file,), _open_torch(file)
    else:
        raise TadropError(f"{file}: unknown kind of checkpoint; expected one of {', '.join(SUFFIXES)}")
    return Checkpoint(path, files, dict(sorted(tensors.items())))


def verify(path: Path) -> None:
    """Checks a file against the SHA256SUMS beside it. Raises TadropError where it differs or is not listed."""
    manifest = path.parent / MANIFEST
    if not manifest.is_file():
        raise TadropError(f"{manifest}: missing; the checkpoints beside it cannot be checked")
    sums = dict(reversed(line.split()) for line in manifest.read_text().splitlines() if line.strip())
    if path.name not in sums:
        raise TadropError(f"{manifest}: does not list {path.name}")
    if sha256(path) != sums[path.name]:
        raise TadropError(f"{path}: contents differ from {MANIFEST}; restore the file, e.g. git checkout {path}")
