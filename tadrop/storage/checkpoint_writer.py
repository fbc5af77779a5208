"""Checkpoints out: safetensors files whose tensors are written piece by piece.

A file is laid out before its tensors' contents are known, so pieces may come in any
order and from any thread, and only headers and single pieces are held in memory. Large
checkpoints are cut into shards with an index, as transformers reads them.
"""

import json
import os
import struct
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tadrop.storage.checkpoint import INDEX
from tadrop.types import TadropError

STEM = "model"  # what names of files begin with
SHARD = 5_000_000_000  # bytes
DTYPE_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    # What is carried and never merged: tasks' own tensors.
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.complex64: "C64",
}

Shape = tuple[int, ...]


class Form(NamedTuple):
    """What is known of a stored tensor before its contents are."""

    dtype: torch.dtype
    shape: Shape

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


Forms = Mapping[str, Form]


def form_of(name: str, dtype: torch.dtype, shape: Sequence[int]) -> Form:
    """A tensor's form. Raises TadropError for
    a dtype that safetensors does not have.
    """
    if dtype not in DTYPE_CODES:
        raise TadropError(
            f"tensor {name!r} is {dtype}, which safetensors cannot hold; "
            "save it in float32, float16 or bfloat16"
        )
    return Form(dtype, tuple(shape))


class TensorFile:
    """One safetensors file whose tensors are written piece by piece.

    Pieces may come in any order and from any thread. The file has its full size from
    the beginning. Raises OSError where the disk refuses.
    """

    def __init__(self, path: Path, forms: Forms, metadata: Mapping[str, str]) -> None:
        self.path = path
        starts, total = _starts(forms)
        header = _header(forms, starts, metadata)
        self.size = len(header) + total
        self.offsets: dict[str, int] = {}  # of each tensor's first byte
        for name, start in starts.items():
            self.offsets[name] = len(header) + start
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            os.truncate(self.handle, self.size)
            self._put(header, 0)
        except BaseException:
            self.close()
            raise

    def write(self, name: str, start: int, tensor: Tensor) -> None:
        """Writes a contiguous run of a tensor's entries, from flat index start."""
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            offset = self.offsets[name] + start * flat.element_size()
            self._put(flat.view(torch.uint8).numpy().data, offset)

    def _put(self, data: bytes | memoryview, offset: int) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            count = os.pwrite(self.handle, rest, offset)
            rest = rest[count:]
            offset += count

    def close(self) -> None:
        os.close(self.handle)

    def __enter__(self) -> "TensorFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class CheckpointWriter:
    """A checkpoint in one file, or in shards of at most `limit` bytes with an index.

    aliases: other names of tensors, {alias: name}. They stand in the metadata of the
    file that holds the tensor, where safetensors looks for them.
    stem:    what names of files begin with
    """

    def __init__(
        self,
        folder: Path,
        forms: Forms,
        metadata: Mapping[str, str],
        aliases: Mapping[str, str],
        limit: int = SHARD,
        stem: str = STEM,
    ) -> None:
        self.files: dict[str, TensorFile] = {}  # by the tensor's name
        runs = shard_names(forms, limit)
        with ExitStack() as stack:
            for number, names in enumerate(runs, 1):
                members = {name: forms[name] for name in names}
                tied = {a: name for a, name in aliases.items() if name in members}
                path = folder / _shard_file(stem, number, len(runs))
                file = TensorFile(path, members, {**metadata, **tied})
                stack.enter_context(file)
                self.files |= dict.fromkeys(names, file)
            if len(runs) > 1:
                _write_index(folder, stem, self.files, forms)
            self._opened = stack.pop_all()

    def write(self, name: str, start: int, tensor: Tensor) -> None:
        """Writes a contiguous run of a tensor's entries, from flat index start."""
        self.files[name].write(name, start, tensor)

    def close(self) -> None:
        self._opened.close()


def shard_names(forms: Forms, limit: int) -> list[list[str]]:
    """Tensor names in runs of at most `limit` bytes; a larger tensor has its own run.

    Wide dtypes come first, so that every tensor is aligned in its file.
    """

    def widest_first(name: str) -> tuple[int, str]:
        return -forms[name].dtype.itemsize, name

    runs: list[list[str]] = [[]]
    room = limit
    for name in sorted(forms, key=widest_first):
        size = forms[name].nbytes
        if size > room and runs[-1]:
            runs.append([])
            room = limit
        runs[-1].append(name)
        room -= size
    return runs


def _shard_file(stem: str, number: int, count: int) -> str:
    of = "" if count == 1 else f"-{number:05}-of-{count:05}"
    return f"{stem}{of}.safetensors"


def _starts(forms: Forms) -> tuple[dict[str, int], int]:
    """Every tensor's first byte, counted from the end of the header,
    and their total.
    """
    starts: dict[str, int] = {}
    end = 0
    for name, form in forms.items():
        starts[name] = end
        end += form.nbytes
    return starts, end


def _header(
    forms: Forms,
    starts: Mapping[str, int],
    metadata: Mapping[str, str],
) -> bytes:
    """What a safetensors file begins with: a length, and JSON padded to eight bytes."""
    content: dict[str, Any] = {"__metadata__": dict(metadata)}
    for name, form in forms.items():
        content[name] = {
            "dtype": DTYPE_CODES[form.dtype],
            "shape": list(form.shape),
            "data_offsets": [starts[name], starts[name] + form.nbytes],
        }
    text = json.dumps(content, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _write_index(
    folder: Path, stem: str, files: Mapping[str, TensorFile], forms: Forms
) -> None:
    weight_map: dict[str, str] = {}
    total = 0
    for name in sorted(files):
        weight_map[name] = files[name].path.name
        total += forms[name].nbytes
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    text = json.dumps(index, indent=1) + "\n"
    (folder / f"{stem}.safetensors{INDEX}").write_text(text, encoding="utf-8")
