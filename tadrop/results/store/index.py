"""An index of a folder of many records: what filters and lists look at, without opening
every record.

It is derived: the records are the truth. An entry holds for a file of one size, inode
and time of change; every other file is read anew, and the index written again. Where it
cannot be read or written, or is damaged, the records are read as if there were none.
Folders of fewer than LEAST records have none, as reading them takes no time.

It has a line of every record, for lists and boards; and the facts of all records, path
by path, so that a question reads only the paths that it is about: the distinct values
of a path, and the number of every record's value.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json

from tadrop.errors import TadropError
from tadrop.results.store import form
from tadrop.results.store.columns import NOWHERE, Column, Columns, Fresh
from tadrop.results.store.facts import Filter, facts
from tadrop.results.store.lines import Line, line_of
from tadrop.storage.files import write_atomically

FILE = ".index.npz"
FORMAT = 2
LEAST = 2000

DAMAGES = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, NotImplementedError),
    zipfile.BadZipFile,
)

Stamps = dict[str, list[int]]  # what tells a file from another of its name, by key


@dataclass
class Index:
    """The records of a folder, ordered by key.

    columns: what gives the column of every path
    """

    stamps: Stamps = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    columns: Columns = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        return list(self.stamps)

    def has(self, path: str) -> np.ndarray:
        """Which records have a value at a path, [record]."""
        return self.columns[path]().numbers != NOWHERE

    def passing(self, filters: Sequence[Filter]) -> np.ndarray:
        """Which records pass all filters, [record]."""
        passing = np.ones(len(self.stamps), dtype=bool)
        for one in filters:
            passing &= self._passing(one)
        return passing

    def _passing(self, one: Filter) -> np.ndarray:
        fulfilled = np.zeros(len(self.stamps), dtype=bool)
        has = np.zeros(len(self.stamps), dtype=bool)
        for path, column in self.columns.items():
            if one.concerns(path):
                fulfilled |= column().passing(one)
            if one.sign == "!=" and one.leads_to(path):
                has |= self.has(path)
        return has & ~fulfilled if one.sign == "!=" else fulfilled


def lines(folder: Path) -> list[Line]:
    """A line of every record of a folder, ordered by key.

    Raises TadropError naming a file that is no record.
    """
    return list(_read(folder).lines.values())


def passing(folder: Path, filters: Sequence[Filter]) -> list[str]:
    """The keys of the records that pass all filters, in order.

    Raises TadropError naming a file that is no record.
    """
    keys = list(stamps_of(folder))
    of_key = [one for one in filters if one.path == "key"]
    for one in of_key:
        keys = [key for key in keys if one.matches({"key": key})]
    others = [one for one in filters if one.path != "key"]
    if not others:
        return keys
    if of_key and len(keys) < LEAST:
        return [key for key in keys if _matches(folder / f"{key}.json", others)]
    index = _read(folder)
    passes = dict(zip(index.keys, index.passing(others).tolist(), strict=True))
    return [key for key in keys if passes[key]]


def _matches(file: Path, filters: Sequence[Filter]) -> bool:
    values = facts(form.read(file))
    return all(one.matches(values) for one in filters)


def _read(folder: Path) -> Index:
    """The index of a folder as it is now."""
    stamps = stamps_of(folder)
    known = _kept(folder / FILE) if len(stamps) >= LEAST else Index()
    if known.stamps == stamps:
        return known
    index = _renewed(folder, known, stamps)
    # A folder that cannot be written has no index, which costs time and nothing else.
    if len(stamps) >= LEAST:
        with suppress(TadropError):
            write_atomically(folder / FILE, partial(_write, index))
    return index


def stamps_of(folder: Path) -> Stamps:
    """The stamps of a folder's records, ordered by key."""
    if not folder.is_dir():
        raise TadropError(f"{folder}: no such folder of records")
    stamps: Stamps = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.endswith(".json") and not name.startswith("."):
                stat = entry.stat()
                times = [stat.st_mtime_ns, stat.st_ctime_ns]
                stamps[name[:-5]] = [stat.st_size, stat.st_ino, *times]
    return dict(sorted(stamps.items()))


def _renewed(folder: Path, known: Index, stamps: Stamps) -> Index:
    """An index of these files; entries that are known and hold are not read again."""
    index = Index(dict(stamps))
    fresh = Fresh()
    for row, (key, stamp) in enumerate(stamps.items()):
        if known.stamps.get(key) == stamp:
            index.lines[key] = known.lines[key]
            continue
        record = form.read(folder / f"{key}.json")
        index.lines[key] = line_of(record)
        fresh.add(row, record)
    targets = _targets(known, stamps)
    index.columns = fresh.onto(known.columns, targets, len(stamps))
    return index


def _targets(known: Index, stamps: Stamps) -> np.ndarray:
    """The row of every known record among these files;
    NOWHERE where it holds no more.
    """
    rows = {key: row for row, key in enumerate(stamps)}
    targets = np.full(len(known.stamps), NOWHERE)
    for number, (key, stamp) in enumerate(known.stamps.items()):
        if stamps.get(key) == stamp:
            targets[number] = rows[key]
    return targets


def _write(index: Index, path: Path) -> None:
    """An index as a file: arrays that numpy reads one by one."""
    stamps = np.array(list(index.stamps.values()), dtype=np.int64)
    lines = list(index.lines.values())
    head = {"format": FORMAT, "lines": lines, "paths": list(index.columns)}
    arrays = {"head": _text(head), "stamps": stamps}
    for number, column in enumerate(index.columns.values()):
        whole = column()
        arrays[f"values{number}"] = _text(whole.values)
        arrays[f"numbers{number}"] = whole.numbers
    with path.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


def _text(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def _kept(file: Path) -> Index:
    """The index as it was written last; an empty one where there is no whole one."""
    with suppress(*DAMAGES):
        arrays = np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)
        if arrays.zip.testzip() is not None:
            return Index()
        head = from_json(arrays["head"].tobytes())
        lines = {line[0]: Line(*line) for line in head["lines"]}
        stamps = dict(zip(lines, arrays["stamps"].tolist(), strict=True))
        columns: dict[str, Callable[[], Column]] = {}
        for number, path in enumerate(head["paths"]):
            columns[path] = partial(_column, arrays, number, len(stamps))
        if head["format"] == FORMAT:
            return Index(stamps, lines, columns)
    return Index()


def _column(arrays: Any, number: int, count: int) -> Column:
    """A path's column in the arrays of a file."""
    values = from_json(arrays[f"values{number}"].tobytes())
    numbers = arrays[f"numbers{number}"]
    fits = numbers.shape == (count,) and numbers.max(initial=NOWHERE) < len(values)
    if not fits or numbers.min(initial=0) < NOWHERE:
        raise TadropError(f"{FILE} among the records is damaged; delete it")
    return Column(values, numbers)
