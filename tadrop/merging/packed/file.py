"""The file of a packed merge: written, measured, and read back.

One safetensors file holds
  bits     uint8: the masks and the numbers of levels, tensor after tensor
  values   float32: the values, tensor after tensor
  factors  float32 [task], what each task's delta is multiplied by, where there are any
and in its metadata, under `tadrop`, as JSON
  format   "packed 1"
  tasks    the tasks' names
  shapes   the tensors' names and shapes, in the order in which they follow one another
  codes    for what all tasks share, then for each task, a word a tensor: the letter of
           its form (encoding.py) and its count, "s311"; "-" where it has nothing
  sums     CRC-32 of bits and factors, and of values and the words above
What all tasks share comes first in bits and values, then each task's own.
"""

import json
import lzma
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tadrop.merging.packed.encoding import (
    NONE,
    Code,
    Packed,
    Shape,
    decode,
    decode_thin,
    encode,
    encode_mask,
    encode_thin,
)
from tadrop.storage.atomic.finite import json_text
from tadrop.storage.files import write_tensors
from tadrop.types import LowRank, TadropError
from tadrop.vectors.merged import Merged

FORMAT = "packed 1"
NAME = "packed.safetensors"
ABSENT = Code("-")


class Sizes(NamedTuple):
    """Bytes of a packed file.

    file: as it lies on the disk
    xz:   the same with its masks and numbers of levels compressed by LZMA (xz, preset
          6), which comes near to what an entropy coder would make of them
    """

    file: int
    xz: int


def write(path: Path, merged: Merged) -> Sizes:
    """Writes a merge, and measures the file.

    Raises TadropError for a merge that is more than weights.
    """
    if merged.attachment is not None:
        raise TadropError(
            "this row is more than weights (adapters, or experts): pack=true cannot "
            "hold it"
        )
    owners = [_shared(merged)]
    for index in range(len(merged.tasks)):
        owners.append(_own(merged, index))
    bits, values = _joined(owners)
    tensors = {"bits": torch.from_numpy(bits), "values": values}
    if merged.factors is not None:
        tensors["factors"] = merged.factors.float().expand(len(merged.tasks))
    note: dict[str, Any] = {
        "format": FORMAT,
        "tasks": list(merged.tasks),
        "shapes": _shapes(merged),
        "codes": [_words(owner) for owner in owners],
    }
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    note["sums"] = list(_sums(note, contiguous).values())
    metadata = {"format": "pt", "tadrop": json_text(note, str(path), indent=None)}
    write_tensors(path, contiguous, metadata)
    size = path.stat().st_size
    return Sizes(size, size - len(bits) + len(lzma.compress(bits.tobytes())))


def _sums(note: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The two check sums of the file, by what each is of."""
    raw: dict[str, bytes] = {}
    for name in ("bits", "values", "factors"):
        raw[name] = tensors[name].numpy().tobytes() if name in tensors else b""
    told = json.dumps([note[word] for word in ("format", "tasks", "shapes", "codes")])
    return {
        "bits or factors": zlib.crc32(raw["bits"] + raw["factors"]),
        "values or metadata": zlib.crc32(raw["values"] + told.encode()),
    }


def _shapes(merged: Merged) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for name in merged.names:
        if name in merged.low_rank:
            left, right = merged.low_rank[name]
            shapes[name] = [left.shape[1], right.shape[2]]
        else:
            shapes[name] = list(merged.deltas[name].shape[1:])
    return shapes


def _shared(merged: Merged) -> list[Packed | None]:
    """What all tasks share of each tensor; None where each has its own."""
    packed: list[Packed | None] = []
    for name in merged.names:
        is_one = name in merged.deltas and len(merged.deltas[name]) == 1
        packed.append(encode(merged.deltas[name][0]) if is_one else None)
    return packed


def _own(merged: Merged, index: int) -> list[Packed | None]:
    """What one task has of each tensor for itself."""
    packed: list[Packed | None] = []
    for name in merged.names:
        if name in merged.low_rank:
            left, right = merged.low_rank[name]
            packed.append(encode_thin(left[index], right[index]))
        elif name in merged.masks:
            packed.append(encode_mask(merged.masks[name][index]))
        elif len(merged.deltas[name]) > 1:
            packed.append(encode(merged.deltas[name][index]))
        else:
            packed.append(None)
    return packed


def _joined(owners: Sequence[Sequence[Packed | None]]) -> tuple[np.ndarray, Tensor]:
    """All bits and all values, one after another."""
    bits, values = [NONE], [torch.empty(0)]
    for owner in owners:
        for packed in filter(None, owner):
            bits.append(packed.bits)
            values.append(packed.values)
    return np.concatenate(bits), torch.cat(values)


def _words(owner: Sequence[Packed | None]) -> list[str]:
    words: list[str] = []
    for packed in owner:
        code = ABSENT if packed is None else packed.code
        words.append(code.form + (str(code.number) if code.number else ""))
    return words


def read(path: Path) -> Merged:
    """A packed merge, in memory, bit for bit as it was written (but -0, which is 0).

    Raises TadropError where the file is none, or is damaged.
    """
    note, tensors = _opened(path)
    try:
        return replace(_read(note, tensors), on_disk=path.stat().st_size)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise TadropError(
            f"{path}: a damaged packed merge ({str(error) or 'incomplete'}); write it "
            "again"
        ) from error


def _opened(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the metadata say, and the tensors."""
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as opened:
            note = json.loads((opened.metadata() or {}).get("tadrop", "null"))
            for name in opened.keys():  # noqa: SIM118  # it is no mapping
                tensors[name] = opened.get_tensor(name)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise TadropError(f"{path}: not a readable packed merge ({error})") from error
    if not isinstance(note, dict) or note.get("format") != FORMAT:
        raise TadropError(f"{path}: not a packed merge of the form {FORMAT!r}")
    return note, tensors


def _read(note: dict[str, Any], tensors: dict[str, Tensor]) -> Merged:
    """Raises one of the errors that `read` tells."""
    _check_sums(note, tensors)
    tasks = tuple(map(str, note["tasks"]))
    shapes = {name: tuple(map(int, shape)) for name, shape in note["shapes"].items()}
    bits, values = _typed(tensors)
    codes = [_codes(words, shapes) for words in note["codes"]]
    if len(codes) != len(tasks) + 1:
        raise ValueError(f"{len(codes)} lists of codes for {len(tasks)} tasks")
    parts = list(_parts(codes, list(shapes.values()), bits, values))
    merged = Merged(tasks, {}, factors=_factors(tensors, len(tasks)))
    for column, (name, shape) in enumerate(shapes.items()):
        _unpack(merged, name, shape, [owner[column] for owner in parts])
    return merged


def _check_sums(note: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError for a part that is not what was written."""
    totals = _sums(note, tensors)
    for (name, total), written in zip(totals.items(), note["sums"], strict=True):
        if written != total:
            raise ValueError(f"the check sum of its {name} is another")


def _typed(tensors: Mapping[str, Tensor]) -> tuple[np.ndarray, Tensor]:
    """Bits and values, if they are of their types."""
    bits, values = tensors["bits"], tensors["values"]
    if bits.dtype != torch.uint8 or values.dtype != torch.float32:
        raise ValueError(f"bits are {bits.dtype} and values {values.dtype}")
    return bits.numpy(), values


def _codes(words: Sequence[str], shapes: dict[str, Shape]) -> list[Code]:
    codes: list[Code] = []
    for word, (name, shape) in zip(words, shapes.items(), strict=True):
        code = Code(word[:1], int(word[1:] or 0))
        if code != ABSENT and not code.is_possible(shape):
            raise ValueError(
                f"tensor {name!r} of shape {list(shape)} has code {word!r}"
            )
        codes.append(code)
    return codes


def _parts(
    codes: Sequence[Sequence[Code]],
    shapes: Sequence[Shape],
    bits: np.ndarray,
    values: Tensor,
) -> Iterator[list[Packed]]:
    """The packed tensors of each owner, cut out of bits and values."""
    bit = value = 0
    for owner in codes:
        parts: list[Packed] = []
        for code, shape in zip(owner, shapes, strict=True):
            next_bit, next_value = bit, value
            if code != ABSENT:
                next_bit += code.nbytes(shape)
                next_value += code.nvalues(shape)
            parts.append(Packed(code, bits[bit:next_bit], values[value:next_value]))
            bit, value = next_bit, next_value
        yield parts
    if (bit, value) != (len(bits), len(values)):
        raise ValueError(
            f"its codes want {bit} bytes and {value} values, "
            f"and there are {len(bits)} and {len(values)}"
        )


def _factors(tensors: dict[str, Tensor], tasks: int) -> Tensor | None:
    factors = tensors.get("factors")
    if factors is not None and tuple(factors.shape) != (tasks,):
        raise ValueError(f"{tuple(factors.shape)} factors for {tasks} tasks")
    return factors


def _unpack(merged: Merged, name: str, shape: Shape, parts: Sequence[Packed]) -> None:
    """Puts a tensor into the merge, from what all share and what each task has."""
    shared, *own = parts
    forms = {part.code.form for part in own}
    if forms == {"t"}:
        thin = [decode_thin(part.code, shape, part.values) for part in own]
        lefts, rights = zip(*thin, strict=True)
        merged.low_rank[name] = LowRank(torch.cat(lefts), torch.cat(rights))
    elif shared.code == ABSENT and forms.isdisjoint("-mt"):
        tensors = [decode(part.code, shape, part.bits, part.values) for part in own]
        merged.deltas[name] = torch.stack(tensors)
    elif shared.code.form in "zdsl" and forms in ({"m"}, {"-"}):
        delta = decode(shared.code, shape, shared.bits, shared.values)
        merged.deltas[name] = delta[None]
        if forms == {"m"}:
            masks = np.stack([part.bits for part in own])
            merged.masks[name] = torch.from_numpy(masks)
    else:
        raise ValueError(f"tensor {name!r} has codes that do not go together")
