"""What a tracker is told of: a run, a merge that was written,
or what a sweep ended in.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from tadrop.errors import TadropError
from tadrop.merging.export import Written
from tadrop.results import identity
from tadrop.results.identity import label, variant
from tadrop.results.record import SUFFIXES, Record
from tadrop.storage.folders import NOTE

# What the files of each kind of entry are together.
BUNDLES = {"run": "record", "merge": "recipe", "tables": "tables"}


@dataclass(frozen=True)
class Entry:
    """One thing to track.

    kind:     a run, a merge that was not evaluated, or the tables of a sweep
    name:     as tables call it
    key:      of its record, or a name without spaces for what has none
    settings: its configuration
    numbers:  what is worth a curve or a column
    files:    what belongs to it; those that are not there are left out
    group:    what the entries of one sweep share, where their tracker names no other
    tags:     what to look for it by
    """

    kind: Literal["run", "merge", "tables"]
    name: str
    key: str
    settings: Mapping[str, Any]
    numbers: Mapping[str, float]
    files: Sequence[Path]
    group: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def bundle(self) -> str:
        """The name of its files together."""
        return f"{BUNDLES[self.kind]}-{self.key}"

    @property
    def present(self) -> list[Path]:
        """The files that are there."""
        return list(filter(Path.is_file, self.files))


@runtime_checkable
class Tracker(Protocol):
    """What a tracker does."""

    def check(self) -> None:
        """Raises TadropError, which says how to install it, where a library lacks."""
        ...

    def log(self, entry: Entry) -> None:
        """Keeps an entry: its settings, numbers and files."""
        ...


def installed(name: str, extra: str) -> None:
    """Raises TadropError saying how to install a library that is not.
    Imports nothing.
    """
    if name not in sys.modules and find_spec(name) is None:
        raise TadropError(f"{name} is not installed: pip install -e '.[{extra}]'")


def library(module: str, extra: str | None = None) -> Any:
    """A tracker's library. Raises TadropError saying how to install what is missing.

    extra: of pyproject.toml, that has it; None for one that is always installed
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        how = f": pip install -e '.[{extra}]'" if extra else ""
        name = module.partition(".")[0]
        raise TadropError(f"{name} is not installed{how} ({error})") from error


def of_record(record: Record, folder: Path, group: str | None = None) -> Entry:
    """A run whose record lies in a folder."""
    key, config = record["key"], record["config"]
    files = [folder / f"{key}{suffix}" for suffix in SUFFIXES]
    settings = {**config, "key": key, "split": record["protocol"]["split"]}
    tags = _tags(config)
    return Entry(
        "run", record["label"], key, settings, numbers(record), files, group, tags
    )


def of_written(
    config: Mapping[str, Any], written: Written, group: str | None = None
) -> Entry:
    """A merge that was written and not evaluated; of its files the recipe is kept."""
    settings = {**identity.settings(config), "export": written.path.name}
    values = {"density": written.density, "stored_bytes": float(written.bytes)}
    name, key = label(config), written.path.name
    files = [written.path / NOTE]
    return Entry("merge", name, key, settings, values, files, group, _tags(config))


def of_tables(name: str, files: Sequence[Path], group: str | None = None) -> Entry:
    """The tables and figures that a sweep ended in."""
    return Entry("tables", name, name, {}, {}, files, group, (name,))


def _tags(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The model, the task set and the row, by name, and TADrop or its control."""
    tasks = config["tasks"].get("name") or f"{len(config['tasks']['names'])} tasks"
    words = (config["model"]["name"], tasks, config["merge"]["name"], variant(config))
    return tuple(filter(None, words))


def numbers(record: Record) -> dict[str, float]:
    """What is worth a curve or a column.

    A score per task and their average, in percent; scale, density, bytes and seconds.
    """
    columns: dict[str, float] = {}
    for score in record["scores"]:
        columns[f"{score['metric']}/{score['task']}"] = 100 * score["value"]
    columns["average"] = sum(columns.values()) / len(columns)
    columns["scale"] = record["selection"]["scale"]
    columns["density"] = record["density"]
    columns["stored_bytes"] = record["stored_bytes"]
    for stage, seconds in record["seconds"].items():
        columns[f"seconds/{stage}"] = seconds
    return columns
