"""The merge rows there are, and what the file of each declares.

A file of conf/merge says which boards its row stands on, what a run of it costs and
what it sees of the tasks' data. Nobody keeps a list of rows: boards ask for those that
declare them, with `${rows_of:NAME}`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from tadrop.app.places import CONF
from tadrop.errors import TadropError

# The safe loader, ten times as fast where yaml was built with its library.
SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MERGE = CONF / "merge"
BOARDS = CONF / "board"
# What one run takes on the embedded suite, eight tasks on two cores.
COSTS = ("seconds", "minutes", "hours")


@dataclass(frozen=True)
class MergeRow:
    """What a file of conf/merge declares.

    title: what tables call it
    about: the first line of the file
    data: what the row sees of the tasks' data; none where it sees none
    cost: one of COSTS
    boards: those it stands on, by name
    models: how many models it merges; None for any number
    baseless: whether it gives the same whatever the base
    """

    name: str
    title: str
    about: str
    paper: str | None
    data: str
    cost: str
    boards: tuple[str, ...]
    models: int | None
    baseless: bool = False


def merge_rows() -> dict[str, MergeRow]:
    """Every merge row by name, in the order of their names."""
    rows: dict[str, MergeRow] = {}
    for path in sorted(MERGE.glob("*.yaml")):
        rows[path.stem] = _read(path)
    return rows


def board_names() -> list[str]:
    """The boards there are."""
    return sorted(path.stem for path in BOARDS.glob("*.yaml"))


@cache
def _read(path: Path) -> MergeRow:
    """One file of conf/merge. Raises TadropError for boards or a cost that are not."""
    node = declared(path)
    row = MergeRow(
        name=path.stem,
        title=node.get("title", path.stem),
        about=path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# "),
        paper=node.get("paper"),
        data=node.get("data", "none"),
        cost=node.get("cost", COSTS[0]),
        boards=tuple(node.get("boards", ())),
        models=node.get("models"),
        baseless=bool(node.get("baseless", False)),
    )
    if row.cost not in COSTS:
        raise TadropError(
            f"{path}: cost is {row.cost!r}; it must be one of {', '.join(COSTS)}"
        )
    known = board_names()
    for board in row.boards:
        if board not in known:
            raise TadropError(
                f"{path}: boards has {board!r}; there are the boards {', '.join(known)}"
            )
    return row


def declared(path: Path) -> dict[str, Any]:
    """What a file says at its top, over what the row says that it builds on."""
    node: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), SAFE)
    for other in node.get("defaults", ()):
        if isinstance(other, str) and other != "_self_":
            node = declared(path.with_name(f"{other}.yaml")) | node
    return node


def rows_of(board: str, tasks: Sequence[str] | None = None) -> str:
    """The rows that declare a board, separated by commas, as a sweep wants them.

    tasks: where given, rows made for another number of models are left out
    """
    names: list[str] = []
    for row in merge_rows().values():
        fits = tasks is None or row.models in (None, len(tasks))
        if board in row.boards and fits:
            names.append(row.name)
    if not names:
        raise TadropError(f"no row of conf/merge declares the board {board!r}")
    return ",".join(names)


def listing() -> str:
    """Every row, one a line, by name."""
    lines: list[str] = []
    for row in merge_rows().values():
        source = f" [{row.paper}]" if row.paper else ""
        lines.append(f"{row.name:<20} {row.about}{source}")
    return "\n".join(lines)


def register() -> None:
    """Makes `${rows:}` (for --help) and
    `${rows_of:NAME}` known to the configuration.
    """
    OmegaConf.register_new_resolver("rows", listing, replace=True)
    OmegaConf.register_new_resolver("rows_of", rows_of, replace=True)
