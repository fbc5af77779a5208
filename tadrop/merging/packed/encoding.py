"""How the delta of one tensor is packed: the shortest of a few exact forms.

Which form a tensor gets follows from its entries alone, never from the method that made
them:

z  nothing: every entry is 0
d  dense: every entry as float32
s  sparse: a mask of one bit an entry, and the entries that are not 0 as float32
l  levels: of at most 256 different values; these as float32, ascending, and for each
   entry the number of its level in as few bits as all numbers need
t  thin: the two factors of a product, left then right, as float32
m  mask: one bit an entry, where the tensor is 0 and where it is the shared one

Bits are laid out as numpy.packbits does, first entry in the highest bit; every tensor
begins with a byte of its own.
"""

from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tadrop.types import LowRank
from tadrop.vectors.merged import pack

MOST_LEVELS = 256
NONE = np.empty(0, dtype=np.uint8)

Shape = tuple[int, ...]


class Code(NamedTuple):
    """The form of a packed tensor, and a number that its length depends on.

    number: sparse, entries that are not 0; levels, how many; thin, the rank; else 0
    """

    form: str
    number: int = 0

    def nbytes(self, shape: Shape) -> int:
        """The bytes of masks and numbers of levels."""
        size = prod(shape)
        if self.form == "l":
            return -(-size * _width(self.number) // 8)
        return -(-size // 8) if self.form in "sm" else 0

    def nvalues(self, shape: Shape) -> int:
        """How many values."""
        if self.form == "d":
            return prod(shape)
        return self.number * sum(shape) if self.form == "t" else self.number

    def is_possible(self, shape: Shape) -> bool:
        """Whether a tensor of this shape can have this code."""
        least, most = 0, 0
        if self.form == "s":
            most = prod(shape)
        elif self.form == "l":
            least, most = 1, MOST_LEVELS
        elif self.form == "t":
            most = min(shape, default=0) if len(shape) == 2 else -1
        return self.form in ("z", "d", "s", "l", "t", "m") and (
            least <= self.number <= most
        )


class Packed(NamedTuple):
    """A packed tensor. bits: uint8; values: float32, flat."""

    code: Code
    bits: np.ndarray
    values: Tensor


def _width(levels: int) -> int:
    """Bits that number so many levels; none where there is but one."""
    return (levels - 1).bit_length()


def encode(delta: Tensor) -> Packed:
    """A tensor in the shortest form; -0 becomes 0."""
    flat = delta.detach().float().cpu().reshape(-1)
    kept = flat != 0
    count = int(kept.sum())
    if count == 0:
        return Packed(Code("z"), NONE, flat[:0])
    shape = tuple(delta.shape)
    codes = [Code("d"), Code("s", count)]
    levels, numbers = torch.unique(flat, return_inverse=True)
    if len(levels) <= MOST_LEVELS:
        codes.append(Code("l", len(levels)))

    def length(code: Code) -> int:
        return code.nbytes(shape) + 4 * code.nvalues(shape)

    code = min(codes, key=length)
    if code.form == "d":
        return Packed(code, NONE, flat)
    if code.form == "s":
        return Packed(code, pack(kept[None])[0].numpy(), flat[kept])
    return Packed(code, _numbered(numbers, _width(code.number)), levels)


def encode_thin(left: Tensor, right: Tensor) -> Packed:
    """Two factors [out, rank] and [rank, in]."""
    values = torch.cat([left.reshape(-1), right.reshape(-1)]).float().cpu()
    return Packed(Code("t", left.shape[-1]), NONE, values)


def encode_mask(bits: Tensor) -> Packed:
    """A mask that is packed already, uint8."""
    return Packed(Code("m"), bits.numpy(), torch.empty(0))


def _numbered(numbers: Tensor, width: int) -> np.ndarray:
    """Numbers below 2^width, that many bits each."""
    if width == 0:
        return NONE
    columns = np.unpackbits(numbers.numpy().astype(np.uint8)[:, None], axis=1)
    return np.packbits(columns[:, 8 - width :])


def decode(code: Code, shape: Shape, bits: np.ndarray, values: Tensor) -> Tensor:
    """The tensor of a form z, d, s or l, as it was packed.

    Raises ValueError where bits say something that no packed tensor does.
    """
    size = prod(shape)
    if code.form == "d":
        return values.view(shape)
    flat = torch.zeros(size)
    if code.form == "s":
        kept = torch.from_numpy(np.unpackbits(bits, count=size).view(bool))
        if int(kept.sum()) != code.number:
            raise ValueError(f"a mask keeps {int(kept.sum())} of {code.number} entries")
        flat[kept] = values
    elif code.form == "l":
        numbers = _unnumbered(bits, size, _width(code.number))
        if len(numbers) and int(numbers.max()) >= code.number:
            raise ValueError(f"a level is numbered {int(numbers.max())}")
        flat = values[torch.from_numpy(numbers)]
    return flat.view(shape)


def _unnumbered(bits: np.ndarray, size: int, width: int) -> np.ndarray:
    """int64 [size]: undoes _numbered."""
    columns = np.zeros((size, 8), dtype=np.uint8)
    if width:
        columns[:, 8 - width :] = np.unpackbits(bits, count=size * width).reshape(
            size, width
        )
    return np.packbits(columns, axis=1)[:, 0].astype(np.int64)


def decode_thin(code: Code, shape: Shape, values: Tensor) -> LowRank:
    """The factors of one task, with a task axis of 1."""
    rows, columns = shape
    left, right = values.split([rows * code.number, code.number * columns])
    return LowRank(left.view(1, rows, code.number), right.view(1, code.number, columns))
