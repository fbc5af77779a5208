"""Texts from parquet files: read, tokenised once, cached,
and put into padded batches.
"""

import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tadrop.storage.atomic import caching
from tadrop.storage.checkpoint import first_line, sha256
from tadrop.storage.data_files import check_rows
from tadrop.storage.files import write_tensors
from tadrop.types import TadropError

# Part of every cache key and of the protocol. Other tokens or splits take a new version.
VERSION = 1
TOKENIZER_FILES = (
    "tokenizer*.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "*.model",
    "*.spm",
)


class Tokens(NamedTuple):
    """Token ids of all rows, one after the other.

    ends:   where each row stops
    labels: class numbers, or values to predict
    """

    ids: Tensor
    ends: Tensor
    labels: Tensor

    def select(self, rows: np.ndarray) -> "Tokens":
        """Some rows, in the order given."""
        starts = np.concatenate([[0], self.ends.numpy()[:-1]])
        parts = [self.ids[starts[row] : self.ends[row]] for row in rows]
        ends = torch.tensor(list(map(len, parts))).cumsum(0)
        return Tokens(torch.cat(parts), ends, self.labels[torch.from_numpy(rows)])


def read_rows(
    files: Sequence[Path], columns: Sequence[str]
) -> tuple[list[list[str]], np.ndarray]:
    """The text columns as lists, and the labels.

    Raises TadropError naming the file and column that do not fit.
    """
    texts: list[list[str]] = [[] for _ in columns]
    labels = []
    for file in files:
        table = _read_table(file, (*columns, "label"))
        for column, name in zip(texts, columns, strict=True):
            column += table.column(name).to_pylist()
        labels += table.column("label").to_pylist()
    for name, column in zip(columns, texts, strict=True):
        if not all(isinstance(text, str) for text in column):
            raise TadropError(f"{files[0]}: column {name!r} does not hold texts alone")
    values = np.array([math.nan if label is None else label for label in labels])
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise TadropError(f"{files[0]}: not every label is a finite number")
    kind = values.dtype.kind
    if kind not in "if" or (kind == "i" and values.min(initial=0) < 0):
        raise TadropError(
            f"{files[0]}: labels must be class numbers from 0; "
            "a hidden test split has none"
        )
    return texts, values


def _read_table(file: Path, columns: Sequence[str]) -> Any:
    """A parquet file. Raises TadropError if it lacks one of the columns."""
    import pyarrow.parquet

    try:
        count = pyarrow.parquet.read_metadata(file).num_rows
        check_rows(count, str(file))
        table = pyarrow.parquet.read_table(file)
    except TadropError:
        raise
    # Arrow's exceptions are of many kinds; to the reader they all mean the same.
    except Exception as error:
        raise TadropError(
            f"{file}: not a readable parquet file ({first_line(error)})"
        ) from error
    for column in columns:
        if column not in table.column_names:
            raise TadropError(
                f"{file}: no column called {column}; "
                f"there are {', '.join(table.column_names)}"
            )
    return table


def tokenizer_fingerprint(folder: Path) -> str:
    """A hash of the tokenizer's files. Raises TadropError if there are none."""
    files: set[Path] = set()
    for pattern in TOKENIZER_FILES:
        files.update(folder.glob(pattern))
    if not files:
        raise TadropError(
            f"{folder}: no tokenizer in this directory "
            "(tokenizer.json, or vocab.json and merges.txt)"
        )
    hashes = "".join(map(sha256, sorted(files)))
    return hashlib.sha256(hashes.encode()).hexdigest()[:16]


def tokenise(
    texts: Sequence[Sequence[str]], folder: Path, max_length: int
) -> list[list[int]]:
    """Token ids of every row, without padding; two columns are a pair."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise TadropError(
            f"{folder}: its tokenizer cannot be loaded ({first_line(error)})"
        ) from error
    return tokenizer(*texts, truncation=True, max_length=max_length)["input_ids"]


@functools.cache
def load(
    files: tuple[Path, ...],
    columns: tuple[str, ...],
    folder: Path,
    max_length: int,
    cache: Path | None,
) -> Tokens:
    """A split's tokens: from this process's memory, the cache folder, or made anew.

    What is made anew is put into the cache folder, where there is one. Its name there
    is a hash of the files' and the tokenizer's content, and of how they are read.
    """
    from safetensors.torch import load_file

    if cache is None:
        return _tokens(files, columns, folder, max_length)
    name = _cache_name(files, columns, folder, max_length)
    path = caching.place(cache / "text" / f"{name}.safetensors")
    if path.exists():
        return Tokens(**load_file(path))
    tokens = _tokens(files, columns, folder, max_length)
    write_tensors(path, tokens._asdict())
    return tokens


def _cache_name(
    files: Sequence[Path], columns: tuple[str, ...], folder: Path, max_length: int
) -> str:
    from transformers import __version__

    reading = [VERSION, __version__, columns, max_length]
    words = [*reading, tokenizer_fingerprint(folder), *map(sha256, files)]
    return hashlib.sha256(repr(words).encode()).hexdigest()[:16]


def _tokens(
    files: Sequence[Path], columns: Sequence[str], folder: Path, max_length: int
) -> Tokens:
    """The tokens of parquet files."""
    tokenizer_fingerprint(folder)  # a folder without a tokenizer is named as such
    texts, labels = read_rows(files, columns)
    rows = tokenise(texts, folder, max_length)
    lengths = list(map(len, rows))
    if 0 in lengths:
        raise TadropError(f"{files[0]}: row {lengths.index(0)} is an empty text")
    ids = torch.tensor(list(chain.from_iterable(rows)), dtype=torch.int32)
    return Tokens(ids, torch.tensor(lengths).cumsum(0), torch.from_numpy(labels))


def buckets(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Rows in order of length, in batches of at most `budget` tokens after padding.

    A row that is longer than the budget is alone in its batch.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or lengths[order[stop]] * (stop + 1 - start) > budget:
            yield order[start:stop]
            start = stop


def pad(tokens: Tokens, rows: np.ndarray) -> Tensor:
    """The rows' token ids [batch, length], -1 after the end of each."""
    ends = tokens.ends.numpy()
    starts = np.concatenate([[0], ends[:-1]])
    longest = int((ends - starts)[rows].max())
    ids = np.full((len(rows), longest), -1, dtype=np.int64)
    flat = tokens.ids.numpy()
    for line, row in zip(ids, rows, strict=True):
        line[: ends[row] - starts[row]] = flat[starts[row] : ends[row]]
    return torch.from_numpy(ids)
