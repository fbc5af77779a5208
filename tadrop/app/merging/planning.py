"""`--dry-run`: what a merge would read, write and take, with every warning of it.

Everything is checked as for the real merge; then a second of it is run on a few tensors
and thrown away, from which the time is told.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from tadrop.app.console import Progress, say
from tadrop.app.merging.request import Request
from tadrop.app.meter import shown
from tadrop.app.runs import build
from tadrop.app.runs.checks import check
from tadrop.app.runs.exporting import size_of, source_of
from tadrop.app.runs.memory import check_memory, needed
from tadrop.app.runs.opening import open_stream
from tadrop.app.runs.prepared import Prepared
from tadrop.app.runs.preparing import transformations
from tadrop.app.schema.values import resolved
from tadrop.merging.beside import copied
from tadrop.merging.export import check_names
from tadrop.merging.full import stored_dtype
from tadrop.merging.source import dtype_of
from tadrop.sparsify.chain import chain
from tadrop.storage.checkpoint import Checkpoint
from tadrop.storage.checkpoint_writer import Form, shard_names
from tadrop.types import MergedPiece
from tadrop.vectors.passes import PIECE
from tadrop.vectors.task_vectors import TaskVectors

MEASURED = 1.0  # seconds of a merge that are run for the estimate
RESIDENT = 300_000_000  # bytes of the interpreter, torch and buffers of pieces
THREADS = 4 * PIECE * 4  # bytes that a thread holds of pieces


@dataclass(frozen=True)
class Costs:
    """What a merge takes: bytes read (once), written and held, and seconds."""

    read: int
    written: int
    memory: int
    seconds: float
    free: int


def tell(request: Request, cfg: DictConfig) -> None:
    """Says what a request would do. Raises TadropError for all that would stop it.

    cfg: the request's configuration, whose words are right (inputs.configured)
    """
    check(cfg)
    vectors = open_stream(resolved(cfg))
    check_memory(cfg, vectors)
    if request.expand:
        check_names(vectors.tasks, vectors.base)
    for line in _lines(cfg, vectors, costs(cfg, vectors)):
        say(line)


def costs(cfg: Any, vectors: TaskVectors) -> Costs:
    """Bytes, memory and seconds of a merge, measured on a part of it."""
    base = vectors.base
    checkpoints = [base, *vectors.experts.values()]
    files: set[Path] = set()
    for one in checkpoints:
        files.update(one.files)
    written = sum(map(attrgetter("nbytes"), _forms(cfg, base).values()))
    if cfg.export.expand:
        written *= 1 + len(vectors.tasks)
    scope = build.part(cfg.merge.method).scope
    largest = max(map(prod, vectors.shapes.values()))
    memory = RESIDENT + torch.get_num_threads() * THREADS + needed(scope, vectors)
    makes = sum(one.likes is not None for one in checkpoints)
    memory += 2 * 4 * largest * makes
    place = Path(cfg.export.dir).expanduser().absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return Costs(_size(files), written, memory, _seconds(cfg, vectors), free)


def _size(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _forms(cfg: Any, base: Checkpoint) -> dict[str, Form]:
    wanted = dtype_of(cfg.export.dtype)
    forms: dict[str, Form] = {}
    for name in base.tensors:
        like = base.like(name)
        forms[name] = Form(stored_dtype(like.dtype, wanted), tuple(like.shape))
    return forms


def _seconds(cfg: Any, vectors: TaskVectors) -> float:
    """How long all tensors take, from as many of them as a second does."""
    names = sorted(vectors.names, key=lambda name: prod(vectors.shapes[name]))
    total = sum(map(prod, vectors.shapes.values()))
    # From the middle on: neither scalars nor the largest alone are like the rest.
    order = [*names[len(names) // 2 :], *reversed(names[: len(names) // 2])]
    count, seconds, done = 1, 0.0, 0
    while True:
        chosen = order[:count]
        done = sum(map(prod, map(vectors.shapes.__getitem__, chosen)))
        seconds = _timed(cfg, vectors, chosen)
        if seconds >= MEASURED / 2 or count >= len(order):
            return seconds * total / max(done, 1)
        count = min(2 * count, len(order))


def _timed(cfg: Any, vectors: TaskVectors, names: list[str]) -> float:
    """The seconds of a merge of these tensors alone, which is thrown away."""
    others = frozenset(vectors.base.tensors) - set(names)
    base = replace(vectors.base, held=others)
    part = replace(vectors, base=base)
    start = time.perf_counter()
    silent = Progress()
    steps = transformations(cfg, resolved(cfg), None, silent)
    stream = chain(steps)(part)
    source_of(Prepared(cfg, part, stream), silent).run(_nowhere)
    return time.perf_counter() - start


def _nowhere(name: str, start: int, merged: MergedPiece) -> None:
    """Takes a merged piece and drops it."""


def _inputs(vectors: TaskVectors) -> list[str]:
    """What goes in: sizes, and what becomes of the tensors."""
    base = vectors.base
    lines = ["would merge:"]
    for name, one in (("base", base), *vectors.experts.items()):
        lines.append(f"  {name:<20} {shown(_size(one.files)):>9}  {one.path}")
    left = len(base.tensors) - len(vectors.names)
    own: set[str] = set()
    for tensors in vectors.private_tensors().values():
        own.update(tensors)
    lines.append(
        f"tensors: {len(vectors.names)} merged, {left} of the base, "
        f"{len(own)} each expert's own"
    )
    return lines


def _matrices(vectors: TaskVectors) -> str:
    """How many tensors are matrices, and of which kind."""
    kinds = Counter[str]()
    for layout in vectors.matrix_layouts.values():
        kinds[
            f"{layout.kind}, stored in x out" if layout.transposed else layout.kind
        ] += 1
    told: list[str] = []
    for kind, count in kinds.items():
        told.append(f"{count} {kind}")
    return f"matrices: {', '.join(told) or 'none'}"


def _lines(cfg: Any, vectors: TaskVectors, taken: Costs) -> list[str]:
    base = vectors.base
    lines = _inputs(vectors)
    if cfg.merge.method.get("scope") == "matrix":
        lines.append(_matrices(vectors))
    forms = _forms(cfg, base)
    shards = len(shard_names(forms, size_of(cfg.export.shard_size)))
    lines.append(
        f"read {shown(taken.read)}, write about {shown(taken.written)} "
        f"({shards} {'file' if shards == 1 else 'files'} each), free {shown(taken.free)}"
    )
    lines.append(
        f"memory about {shown(taken.memory)}, time about {_span(taken.seconds)} "
        "(a part of it was measured)"
    )
    names = ", ".join(map(attrgetter("name"), copied(base)))
    lines.append(f"copied beside the weights: {names or 'nothing is there'}")
    if taken.written > taken.free:
        lines.append("there is not enough space on that disk")
    lines.append(f"nothing was written to {cfg.export.dir}")
    return lines


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
