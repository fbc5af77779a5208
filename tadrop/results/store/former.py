"""Records made with former formulas, shown until their runs are made anew.

When a formula or a default changes, so does the key of every run that it changes, and
the run is owed. `former.csv`, beside the folder of records, names the record of the same
run that was made before: tables show it, marked, while the run has no record of its own.
A run never takes it for its own.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadrop.errors import TadropError
from tadrop.results.identity import identity
from tadrop.results.record import Record, read

FILE = "former.csv"
COLUMNS = ["key", "former", "why"]
MARK = "†"
CAPTION = (
    f"{MARK}: made with former formulas or defaults, named in CHANGELOG.md, "
    "and to be made anew."
)


def lines(file: Path) -> list[dict[str, str]]:
    """The lines of a file of former records; none where there is no file.

    Raises TadropError for a file with other columns.
    """
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as text:
        rows = csv.DictReader(text)
        if rows.fieldnames != COLUMNS:
            raise TadropError(f"{file}: its columns must be {','.join(COLUMNS)}")
        return list(rows)


def stand_ins(folder: Path) -> dict[str, Path]:
    """Former records of a folder, by the keys of the runs that they stand in for."""
    files: dict[str, Path] = {}
    for line in lines(folder.parent / FILE):
        file = folder / f"{line['former']}.json"
        if file.exists():
            files[line["key"]] = file
    return files


def marked(file: Path, settings: Mapping[str, Any]) -> Record:
    """A record that stands in for that of a run with these settings, and says so.

    It has these where its own differ, so that its row stands beside, and is compared
    with, those of today; its key, scores and side files are its own.
    """
    one = read(file)
    mine, named = identity(one["config"]), identity(settings)
    config: dict[str, Any] = {}
    for name, node in settings.items():
        alike = mine.get(name) == named.get(name)
        config[name] = one["config"].get(name) if alike else node
    return {**one, "config": config, "former": True}
