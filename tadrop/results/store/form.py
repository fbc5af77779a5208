"""The form of a record: what every reader of records relies on, checked at the door.

A record may hold more than is named here. Numbers are finite, counts are not negative,
and a record's key is the name of its file, so that nothing done to a record can reach
another file.
"""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field
from pydantic_core import ValidationError, from_json, to_json
from typing_extensions import TypedDict

from tadrop.errors import TadropError
from tadrop.storage.atomic.finite import not_finite

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT = 2  # 1 named the code of every node, and records after it
MOST_BYTES = 64_000_000  # of a record's file
AGAIN = "delete it or run again with overwrite=true"

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
# A name of one line, without characters that a terminal obeys.
Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]


class _Open(TypedDict):
    """A part of a record, which may hold more than is named."""

    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # pyright: ignore


class _Model(_Open):
    name: Name


class _Tasks(_Open):
    names: Annotated[list[Name], Field(min_length=1)]


class _Merge(_Open):
    name: Name
    title: Name


class _Config(_Open):
    model: _Model
    tasks: _Tasks
    merge: _Merge
    tadrop: dict[str, Any] | None
    before: list[Name]
    seed: int | None


class _Protocol(_Open):
    split: Name
    metric: Name
    limit: int | None


class _Selection(_Open):
    scale: Finite


class _Score(_Open):
    task: Name
    split: Name
    metric: Name
    value: Finite
    count: Count


class _Code(_Open):
    commit: Name | None
    dirty: bool | None


class _Record(_Open):
    key: Name
    label: Name
    config: _Config
    protocol: _Protocol
    selection: _Selection
    scores: Annotated[list[_Score], Field(min_length=1)]
    density: Share
    stored_bytes: Count
    checkpoints: dict[Name, Name]
    data: dict[Name, Name]
    seconds: dict[Name, Seconds]
    code: _Code


@cache
def _form() -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(_Record)


def read(file: Path) -> dict[str, Any]:
    """The record in a file.

    Raises TadropError naming the file, and the node, if it is not a whole record.
    """
    try:
        record = from_json(_bytes(file), allow_inf_nan=False)
    except (OSError, ValueError, RecursionError) as error:
        raise TadropError(
            f"{file}: not a readable record ({error}); {AGAIN}"
        ) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise TadropError(f"{file}: not a record of format {FORMAT}; {AGAIN}")
    check(record, str(file))
    if record["key"] != file.name.removesuffix(".json"):
        raise TadropError(
            f"{file}: its key is {record['key']!r}, which is not the file's name; "
            "give it its own name back, or delete it"
        )
    return record


def _bytes(file: Path) -> bytes:
    with open(file, "rb", buffering=0) as opened:
        # Asked for more than there is, Python makes room for all of it first.
        size = min(os.fstat(opened.fileno()).st_size, MOST_BYTES)
        data = opened.read(size + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 1_000_000} MB")
    return data


def check(record: dict[str, Any], where: str) -> None:
    """Raises TadropError naming the first node that is not as a record has it."""
    why = ""
    try:
        _form().validate_python(record)
    except ValidationError as error:
        why = _told(error)
    if not why:
        tasks = {score["task"] for score in record["scores"]}
        if len(tasks) < len(record["scores"]):
            why = "a task has two scores"
        elif _may_overflow(record) and (place := not_finite(record)):
            why = f"{place}: not a finite number"
    if why:
        raise TadropError(f"{where}: not a whole record ({why}); {AGAIN}")


def _may_overflow(record: dict[str, Any]) -> bool:
    """Whether a number may be infinite, as 1e999 is; asked of the compiled encoder, which
    takes a hundredth of the time of a walk.
    """
    return b"Infinity" in to_json(record, inf_nan_mode="constants")


def _told(error: ValidationError) -> str:
    """Where a record is wrong and how, in a few words."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    says = first["msg"][:1].lower() + first["msg"][1:]
    return f"{place}: {says}"
