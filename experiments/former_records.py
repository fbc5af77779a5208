"""Finds the records that were made before formulas and defaults changed.

    python experiments/former_records.py runs BEFORE.json     in a checkout of before
    python experiments/former_records.py runs TODAY.json BEFORE.json
    python experiments/former_records.py match BEFORE.json TODAY.json
    python experiments/former_records.py prune

`runs` writes down the key and the settings of every run of every board that stands; of
the boards in BEFORE.json, where it is given. Call it by its path, with PYTHONPATH at
the checkout that is meant. `match` pairs runs of the same board with the same words,
and writes results/former.csv (tadrop/results/store/former.py): a line for each that has
no record today and had one before. `prune` leaves out those that have one by now. The
file was made on 2026-11-30 from commit 83f712c; script and file go with its last line.
"""

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tadrop.app.boards.board import Board
from tadrop.app.boards.recorded import standing
from tadrop.app.terminal.entry import enter
from tadrop.results import identity
from tadrop.storage.files import write_text

RECORDS = Path("results/records")
FILE = Path("results/former.csv")
COLUMNS: Sequence[str] = ("key", "former", "why")

Line = dict[str, str]


def read(file: Path) -> dict[str, Any]:
    """A file that `runs` wrote."""
    return json.loads(file.read_text(encoding="utf-8"))


def runs_of(board: Board) -> dict[str, Any]:
    """Key and settings of each run, by the words of its job and a reference's row."""
    found: dict[str, Any] = {}
    for run in board.compared():
        settings = identity.settings(run.config)
        words = " ".join(run.words)
        if run.reference:
            words += f" of which {run.config['merge']['name']}"
        found[words] = {"key": identity.key_of(settings), "settings": settings}
    return found


def runs(target: Path, before: Path | None = None) -> None:
    """Writes down the runs of every board that stands, or of those of another file."""
    if before is None:
        boards = [found.board for found in standing(RECORDS)]
    else:
        pairs = [one["board"] for one in read(before)["boards"]]
        boards = [Board(name, tuple(words)) for name, words in pairs]
    said: list[dict[str, Any]] = []
    for board in boards:
        said.append({"board": [board.name, board.words], "runs": runs_of(board)})
    write_text(target, json.dumps({"boards": said}))


def leaves(node: Any, path: str = "") -> dict[str, str]:
    """Every value of a node as text, by dotted path; lists are values."""
    if not isinstance(node, Mapping):
        items = node if isinstance(node, list) else [node]
        return {path: "+".join(map(str, items))}
    found: dict[str, str] = {}
    for word, child in node.items():
        found |= leaves(child, f"{path}.{word}" if path else word)
    return found


def differing(before: Any, today: Any) -> str:
    """In which settings two runs differ: sparsify.count ties -> kth; ..."""
    old, new = (leaves(identity.identity(one)) for one in (before, today))
    words: list[str] = []
    for path in sorted(old | new):
        one, other = old.get(path, "unset"), new.get(path, "unset")
        if one != other:
            words.append(f"{path} {one} -> {other}")
    return "; ".join(words)


def is_recorded(key: str) -> bool:
    """Whether a run has a record."""
    return (RECORDS / f"{key}.json").exists()


def matched(before: Mapping[str, Any], today: Mapping[str, Any]) -> list[Line]:
    """A line for each run that is owed today and was recorded before, by key."""
    lines: dict[str, Line] = {}
    for one, other in zip(before["boards"], today["boards"], strict=True):
        assert one["board"] == other["board"]
        for words in one["runs"].keys() & other["runs"].keys():
            old, new = one["runs"][words], other["runs"][words]
            if is_recorded(new["key"]) or not is_recorded(old["key"]):
                continue
            why = differing(old["settings"], new["settings"])
            line = dict(zip(COLUMNS, (new["key"], old["key"], why), strict=True))
            assert lines.setdefault(new["key"], line) == line, words
    return [lines[key] for key in sorted(lines)]


def write(lines: Iterable[Line]) -> None:
    """Writes the file, and says how long it is."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(FILE, text.getvalue())
    print(f"{FILE}: {text.getvalue().count(chr(10)) - 1} lines")


def main(verb: str, *files: str) -> None:
    """Does what a verb says."""
    paths = list(map(Path, files))
    if verb == "runs":
        runs(*paths)
    elif verb == "match":
        write(matched(*map(read, paths)))
    else:
        with FILE.open(encoding="utf-8", newline="") as text:
            lines = list(csv.DictReader(text))
        write(line for line in lines if not is_recorded(line["key"]))


if __name__ == "__main__":
    enter()
    main(*sys.argv[1:])
