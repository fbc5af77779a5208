"""A record in a line, as lists show it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tadrop.results.store.facts import average


class Line(NamedTuple):
    """What a list shows of a record, and what boards ask of it.

    tasks:  how many it was scored on; names: how many tasks its task set has
    average: in percent
    """

    key: str
    model: str
    label: str
    seed: int | None
    tasks: int
    scale: float
    average: float
    seconds: float
    commit: str
    task_set: str
    names: int


def line_of(record: Mapping[str, Any]) -> Line:
    """The line of a record."""
    config, code = record["config"], record["code"]
    commit = (code["commit"] or "")[:8]
    return Line(
        key=record["key"],
        model=config["model"]["name"],
        label=record["label"],
        seed=config["seed"],
        tasks=len(record["scores"]),
        scale=record["selection"]["scale"],
        average=average(record),
        seconds=sum(record["seconds"].values()),
        commit=f"{commit}+" if code["dirty"] else commit,
        task_set=config["tasks"].get("name", ""),
        names=len(config["tasks"]["names"]),
    )
