"""Whether a merge fits the memory: methods that take tensors whole hold them so."""

from math import prod
from typing import Any

from tadrop.app import meter
from tadrop.app.boards.catalogue import MERGE, declared, merge_rows
from tadrop.types import TadropError
from tadrop.vectors.task_vectors import TaskVectors

NAMED = 4  # rows that a refusal names


def needed(scope: str, vectors: TaskVectors) -> int:
    """Bytes that a method of this scope holds of the largest tensor; 0 for pieces."""
    if scope == "entry":
        return 0
    return (len(vectors.tasks) + 2) * 4 * _largest(vectors)[1]


def _largest(vectors: TaskVectors) -> tuple[str, int]:
    """The tensor of the most entries, and how many they are."""
    sizes: dict[str, int] = {}
    for name, shape in vectors.shapes.items():
        sizes[name] = prod(shape)
    name = max(sizes, key=sizes.__getitem__)
    return name, sizes[name]


def check_memory(cfg: Any, vectors: TaskVectors) -> None:
    """Raises TadropError where the method needs more memory than there is free."""
    bytes_ = needed(cfg.merge.method.get("scope", "entry"), vectors)
    free = meter.free_bytes()
    if vectors.device.type != "cpu" or free is None or bytes_ <= free:
        return
    name, _ = _largest(vectors)
    shape = " x ".join(map(str, vectors.shapes[name]))
    raise TadropError(
        f"merge={cfg.merge.name} takes tensors whole: {name!r} ({shape}) of "
        f"{len(vectors.tasks)} models needs about {meter.shown(bytes_)} of memory, "
        f"and {meter.shown(free)} are free; merge by a method that takes pieces "
        f"({', '.join(_by_pieces())})"
    )


def _by_pieces() -> list[str]:
    """Some rows that see no data and hold pieces of tensors alone."""
    names: list[str] = []
    for row in merge_rows().values():
        method = declared(MERGE / f"{row.name}.yaml")["method"]
        if row.data == "none" and method.get("scope", "entry") == "entry":
            names.append(row.name)
    return names[:NAMED]
