"""Records: one JSON file a run, with its settings and everything that produced it.

A record is named by the hash of its settings (tadrop/results/identity.py). Two side
files share its name: .tensors.csv.gz (per-tensor sparsification) and .correct.npz
(per-example values at one bit each, for paired tests). All writes are atomic; the JSON
is written last, so a record that is there is complete.
"""

import gzip
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tadrop.results.identity import key
from tadrop.storage.files import write_bytes, write_text
from tadrop.types import Score, TadropError

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = 2  # 1 named the code of every node, and records after it
SUFFIXES = (".tensors.csv.gz", ".correct.npz", ".json")  # in the order of writing

Record = Mapping[str, Any]


def path(folder: Path, config: Mapping[str, Any]) -> Path:
    """Where the record of a resolved configuration lies in a folder."""
    return folder / f"{key(config)}.json"


def write(
    folder: Path,
    record: Record,
    tensors: Sequence[Mapping[str, Any]] = (),
    scores: Iterable[Score] = (),
) -> Path:
    """Writes side files, then the record; returns the record's path."""
    stem = folder / record["key"]
    if tensors:
        write_bytes(stem.with_suffix(".tensors.csv.gz"), _csv_gz(tensors))
    bits: dict[str, np.ndarray] = {}
    for score in scores:
        if score.metric == "accuracy":
            bits[score.task] = np.packbits(score.per_example.numpy().astype(bool))
    if bits:
        buffer = io.BytesIO()
        # One keyword of numpy's own is a bool; no task is called like it.
        np.savez_compressed(buffer, **bits)  # pyright: ignore[reportArgumentType]
        write_bytes(stem.with_suffix(".correct.npz"), buffer.getvalue())
    target = stem.with_suffix(".json")
    write_text(target, text_of(record))
    return target


def text_of(record: Record) -> str:
    """A record as its file holds it."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _csv_gz(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows with the same columns as a compressed CSV file."""
    columns = list(rows[0])
    lines = [",".join(columns)]
    for row in rows:
        lines.append(",".join(_cell(row[column]) for column in columns))
    return gzip.compress("\n".join(lines).encode() + b"\n", mtime=0)


def _cell(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def read(file: Path) -> Record:
    """One record. Raises TadropError if the file is not one."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TadropError(f"{file}: not a readable record ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise TadropError(
            f"{file}: not a record of format {FORMAT}; "
            "delete it or run again with overwrite=true"
        )
    return record


def first_key(record: Record) -> str:
    """The key that a record was first written under, which outlasts a renaming.

    Draws at random about a record are seeded by it.
    """
    return record.get("first_key", record["key"])


def read_all(folder: Path) -> list[Record]:
    """All records of a folder, ordered by key."""
    if not folder.is_dir():
        raise TadropError(f"{folder}: no such folder of records")
    # A name that begins with a dot was left by a writer that was killed.
    return [read(file) for file in sorted(folder.glob("[!.]*.json"))]


def read_tensors(folder: Path, record_key: str) -> "DataFrame":
    """The per-tensor side file of a record."""
    import pandas

    file = folder / f"{record_key}.tensors.csv.gz"
    if not file.exists():
        raise TadropError(f"{file}: this record has no per-tensor statistics")
    return pandas.read_csv(file)


def read_correct(folder: Path, record: Record) -> dict[str, np.ndarray]:
    """Which test examples a run got right: [count] bool by task.

    Raises TadropError where that was not kept.
    """
    file = folder / f"{record['key']}.correct.npz"
    if not file.exists():
        raise TadropError(
            f"{file}: this record has no per-example values; "
            "run it again with overwrite=true"
        )
    counts = {score["task"]: score["count"] for score in record["scores"]}
    correct: dict[str, np.ndarray] = {}
    with np.load(file, allow_pickle=False) as packed:
        for task in packed.files:
            bits = np.unpackbits(packed[task], count=counts[task])
            correct[task] = bits.astype(bool)
    return correct
