"""Records: one JSON file a run, with its settings and everything that produced it.

A record is named by the hash of its settings (tadrop/results/identity.py). Two side
files share its name: .tensors.csv.gz (per-tensor sparsification) and .correct.npz
(per-example values at one bit each, for paired tests). All writes are atomic; the JSON
is written last, so a record that is there is complete.
"""

import gzip
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tadrop.errors import TadropError
from tadrop.results.identity import key
from tadrop.results.store import form
from tadrop.results.store.form import FORMAT as FORMAT
from tadrop.storage.atomic.finite import json_text
from tadrop.storage.files import write_bytes, write_text

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame

    from tadrop.types import Score

SUFFIXES = (".tensors.csv.gz", ".correct.npz", ".json")  # in the order of writing

Record = Mapping[str, Any]


def path(folder: Path, config: Mapping[str, Any]) -> Path:
    """Where the record of a resolved configuration lies in a folder."""
    return folder / f"{key(config)}.json"


def write(
    folder: Path,
    record: Record,
    tensors: Sequence[Mapping[str, Any]] = (),
    scores: "Iterable[Score]" = (),
) -> Path:
    """Writes side files, then the record; returns the record's path.

    Raises TadropError naming the node if a number of it is NaN or infinite: nothing is
    written then.
    """
    import numpy as np

    stem = folder / record["key"]
    target = stem.with_suffix(".json")
    text = text_of(record)
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
    write_text(target, text)
    return target


def text_of(record: Record) -> str:
    """A record as its file holds it. Raises TadropError for NaN and infinity."""
    return json_text(record, f"the record of {record.get('label', 'a run')}") + "\n"


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
    """One record. Raises TadropError naming the file, and the node, if it is none."""
    return form.read(file)


def files(folder: Path) -> list[Path]:
    """The files of all records of a folder, ordered by key."""
    if not folder.is_dir():
        raise TadropError(f"{folder}: no such folder of records")
    # A name that begins with a dot was left by a writer that was killed.
    return sorted(folder.glob("[!.]*.json"))


def read_all(folder: Path) -> list[Record]:
    """All records of a folder, ordered by key."""
    return list(map(read, files(folder)))


def read_tensors(folder: Path, record_key: str) -> "DataFrame":
    """The per-tensor side file of a record. Raises TadropError if it is damaged."""
    from tadrop.results.store import sides

    return sides.tensors(folder / f"{record_key}.tensors.csv.gz")


def read_correct(folder: Path, record: Record) -> "dict[str, np.ndarray]":
    """Which test examples a run got right: [count] bool by task.

    Raises TadropError where that was not kept, or not in full.
    """
    from tadrop.results.store import sides

    counts = {score["task"]: score["count"] for score in record["scores"]}
    return sides.correct(folder / f"{record['key']}.correct.npz", counts)
