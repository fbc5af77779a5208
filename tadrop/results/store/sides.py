"""The side files of a record, read whole or not at all.

Both are compressed: how large they are when they are unpacked is known, or bounded,
before they are.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tadrop.errors import TadropError

if TYPE_CHECKING:
    from pandas import DataFrame

AGAIN = "run it again with overwrite=true"
COLUMNS = ("task", "tensor", "size", "ratio", "sparsity", "scale")
NUMBERS = ("size", "sparsity", "scale")
MOST_TEXT = 256_000_000  # bytes of a table of tensors when it is unpacked
HEADER = 1024  # more than numpy writes before an array of bits
DAMAGES = (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile)


def correct(file: Path, counts: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Which test examples a run got right: [count] bool by task.

    counts: how many examples each task has. Raises TadropError where the file is not
    there, damaged, or of other examples.
    """
    if not file.exists():
        raise TadropError(f"{file}: this record has no per-example values; {AGAIN}")
    values: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                task = member.filename.removesuffix(".npy")
                if task not in counts:
                    raise ValueError(f"task {task!r} has no score")
                values[task] = _bits(archive, member, counts[task])
    except (*DAMAGES, NotImplementedError, RuntimeError) as error:
        raise TadropError(f"{file}: damaged ({_line(error)}); {AGAIN}") from error
    return values


def _bits(archive: zipfile.ZipFile, member: zipfile.ZipInfo, count: int) -> np.ndarray:
    """One task's values. Raises ValueError unless there are exactly so many."""
    packed = (count + 7) // 8
    if not packed < member.file_size <= packed + HEADER:
        raise ValueError(f"{member.filename!r} does not hold {count} values")
    content = io.BytesIO(archive.read(member))
    bits = np.lib.format.read_array(content, allow_pickle=False)
    if bits.dtype != np.uint8 or bits.shape != (packed,):
        raise ValueError(f"{member.filename!r} does not hold {count} values")
    return np.unpackbits(bits, count=count).astype(bool)


def tensors(file: Path) -> "DataFrame":
    """What a rule did to every tensor of every task, a row each.

    Raises TadropError where the file is not there or damaged.
    """
    import pandas

    if not file.exists():
        raise TadropError(f"{file}: this record has no per-tensor statistics")
    try:
        with gzip.open(file) as opened:
            text = opened.read(MOST_TEXT + 1)
        if len(text) > MOST_TEXT:
            raise ValueError(f"larger than {MOST_TEXT // 1_000_000} MB")
        frame = pandas.read_csv(io.BytesIO(text))
        _check_table(frame)
    except DAMAGES as error:
        raise TadropError(f"{file}: damaged ({_line(error)}); {AGAIN}") from error
    return frame


def _check_table(frame: "DataFrame") -> None:
    """Raises ValueError unless every task has one row for every tensor."""
    for column in COLUMNS:
        if column not in frame.columns:
            raise ValueError(f"it has no column {column!r}")
    for column in NUMBERS:
        values = frame[column].to_numpy()
        if values.dtype.kind not in "if" or not np.isfinite(values).all():
            raise ValueError(f"not every {column} is a finite number")
    if frame.empty or frame.duplicated(["task", "tensor"]).any():
        raise ValueError("not one row for every tensor of every task")
    if len(frame) != frame["task"].nunique() * frame["tensor"].nunique():
        raise ValueError("not one row for every tensor of every task")


def _line(error: BaseException) -> str:
    """What an exception says, in one line; its type where it says nothing."""
    text = str(error)
    return text.splitlines()[0] if text else type(error).__name__
