"""Writes what a merge produced: a checkpoint like the base's, or a compact form where
every task gets its own weights.

full      OUT/model.safetensors (shards and an index above `shard` bytes), with the
          base's configuration and tokenizer files beside it: from_pretrained(OUT)
          loads it. See full.py.
compact   OUT/merged.safetensors, see compact.py, which also reads it again. With
          expand=True every task's full checkpoint stands in OUT/TASK.

Tensors go to disk piece by piece as they are merged, from several threads, each to its
own offset in the file; only headers and single pieces are held in memory. Everything is
written into a hidden folder beside OUT and renamed at the end, so OUT is there whole or
not at all.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tadrop.merging.beside import copy_beside, names_beside
from tadrop.merging.compact import COMPACT, Compact, read
from tadrop.merging.engine import Summary
from tadrop.merging.full import Full, full_size
from tadrop.merging.modules import folders_of, with_modules
from tadrop.merging.refusing import check_scale
from tadrop.merging.source import Plan, Source, WiderError, held
from tadrop.numerics.threads import in_order
from tadrop.storage.atomic.finite import json_text
from tadrop.storage.atomic.guards import check_room
from tadrop.storage.checkpoint import (
    INDEX,
    MANIFEST,
    Checkpoint,
    check_unchanged,
    open_checkpoint,
)
from tadrop.storage.folders import NOTE, staged
from tadrop.types import TadropError
from tadrop.vectors.passes import PIECE

PAGES = ("README.md", "tadrop.yaml")
WEIGHTS = (".safetensors", INDEX)

Span = tuple[str, int, int]  # a tensor's name, and the flat indices start and stop


@dataclass(frozen=True)
class Written:
    """An export on disk.

    kind:     full or compact
    expanded: the folder of each task's full checkpoint, if there are any
    bytes:    of all its files
    density:  share of entries of the task vectors that were not zero
    """

    path: Path
    kind: str
    expanded: Mapping[str, Path]
    bytes: int
    density: float


def export(
    source: Source,
    base: Checkpoint,
    private: Mapping[str, Mapping[str, Tensor]],
    plan: Plan,
    experts: Mapping[str, Checkpoint] | None = None,
) -> Written:
    """Writes a merge to disk.

    private: each task's own tensors, for its full checkpoint
    experts: whose configuration and tokenizer stand beside it; None for the base's

    Raises TadropError if the
    folder is taken, the disk is full or a weight does not fit the dtype; nothing stays
    then.
    """
    check_scale(plan.scale)
    if plan.expand:
        check_names(source.tasks, base)
    with staged(plan.out, plan.overwrite, plan.inputs) as folder:
        if plan.expand:
            check_room(folder, (1 + len(source.tasks)) * full_size(base, plan))
        summary = _write(source, base, folder, plan)
        kind = "compact" if (folder / COMPACT).exists() else "full"
        if plan.expand:
            for task in source.tasks:
                _expand(folder, kind, base, task, private.get(task, {}), plan)
                donor = base if experts is None else experts[task]
                copy_beside(donor, folder / task, plan.dtype)
        copy_beside(base, folder, plan.dtype)
        for checkpoint in (base, *(experts or {}).values()):
            check_unchanged(checkpoint)
        note = {"kind": kind, "density": summary.density, **plan.made}
        if plan.cut:
            note["sparsity"] = plan.cut
        text = json_text(note, str(plan.out)) + "\n"
        (folder / NOTE).write_text(text, encoding="utf-8")
        for name, content in plan.pages(note).items():
            (folder / name).write_text(content, encoding="utf-8")
        size = _bytes_in(folder)
    expanded = {task: plan.out / task for task in source.tasks} if plan.expand else {}
    return Written(plan.out, kind, expanded, size, summary.density)


def check_names(tasks: Iterable[str], base: Checkpoint) -> None:
    """Raises TadropError for a task whose folder would have the name of a file of OUT."""
    taken = {COMPACT, NOTE, MANIFEST, *PAGES, *folders_of(base.tensors)}
    taken.update(names_beside(base))
    for task in tasks:
        is_weights = task.startswith(base.stem) and task.endswith(WEIGHTS)
        if task in taken or is_weights:
            raise TadropError(
                f"an expert is called {task}, and so is what lies in OUT beside its "
                "folder; call it otherwise: NAME=PATH"
            )


def expanded(
    packed: Path,
    base: Checkpoint,
    task: str,
    own: Mapping[str, Tensor],
    plan: Plan,
    expert: Checkpoint,
) -> int:
    """Writes a task's full checkpoint from an export; returns its bytes.

    own: the task's own tensors; expert: whose files stand beside it
    """
    with staged(plan.out, plan.overwrite, plan.inputs) as folder:
        with Full(folder, base, own, plan) as sink:
            if (packed / COMPACT).is_file():
                _expand_compact(packed, task, sink)
            else:
                _expand_full(packed, sink)
        copy_beside(expert, folder, plan.dtype)
        text = json_text(plan.made, str(plan.out)) + "\n"
        (folder / NOTE).write_text(text, encoding="utf-8")
        return _bytes_in(folder)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _write(source: Source, base: Checkpoint, folder: Path, plan: Plan) -> Summary:
    """Runs the source into the narrowest kind of file that holds all its pieces.

    Which kind that is shows only as pieces come: one that does not fit starts the work
    again with a wider kind.
    """
    kind = "shared"
    while True:
        try:
            return _attempt(source, base, folder, plan, kind)
        except WiderError as wider:
            kind = wider.kind
            _empty(folder)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _attempt(
    source: Source,
    base: Checkpoint,
    folder: Path,
    plan: Plan,
    kind: str,
) -> Summary:
    if kind == "shared" and not source.rescaled:
        with Full(folder, base, {}, plan) as full:
            summary = source.run(full.put)
            full.copy_rest(source.shapes)
        return summary
    # What may still be one model for all keeps float32 until its factor is known.
    exact = replace(plan, dtype=None) if kind == "shared" else plan
    with Compact(folder, source, kind, exact) as compact:
        summary = source.run(compact.put)
        compact.finish(summary.factors)
    if kind == "shared":
        _settle(folder, source, base, plan, summary)
    return summary


def _settle(
    folder: Path, source: Source, base: Checkpoint, plan: Plan, summary: Summary
) -> None:
    """Writes one model for all tasks where they share the factor, as OPCM's do.

    Where they do not, the compact form is written again in the dtype that is wanted.
    """
    assert summary.factors is not None
    if len(summary.factors) > 1 and plan.dtype is None:
        return
    exact = folder / f".{COMPACT}"
    (folder / COMPACT).rename(exact)
    if len(summary.factors) == 1:
        with Full(folder, base, {}, plan) as full:
            _expand_compact(exact, source.tasks[0], full)
    else:
        packed = held(read(exact))
        with Compact(folder, packed, "shared", plan) as compact:
            packed.run(compact.put)
            compact.finish(summary.factors)
    exact.unlink()


def _expand(
    folder: Path,
    kind: str,
    base: Checkpoint,
    task: str,
    own: Mapping[str, Tensor],
    plan: Plan,
) -> None:
    """One task's full checkpoint in a folder of its name,
    from what was just written.
    """
    target = folder / task
    target.mkdir()
    with Full(target, base, own, plan) as sink:
        if kind == "compact":
            _expand_compact(folder, task, sink)
        else:
            _expand_full(folder, sink)


def _expand_compact(folder: Path, task: str, sink: Full) -> None:
    """Adds a task's deltas to the base."""
    merged = read(folder)

    def work(span: Span) -> None:
        name, start, stop = span
        sink.put_delta(name, start, merged.delta(task, name, start, stop))

    _on_all_threads(work, _spans(sink, merged.deltas))
    sink.copy_rest(merged.deltas)


def _expand_full(folder: Path, sink: Full) -> None:
    """Copies the shared checkpoint, but for the task's own tensors."""
    shared = with_modules(
        open_checkpoint(folder), folder, folders_of(sink.base.tensors)
    )

    def work(span: Span) -> None:
        name, start, stop = span
        sink.write(name, start, shared[name].reshape(-1)[start:stop])

    _on_all_threads(work, _spans(sink, sink.base.tensors))
    sink.copy_rest(sink.base.tensors)


def _spans(sink: Full, names: Iterable[str]) -> Iterator[Span]:
    """The pieces of these tensors, but for those that are the task's own."""
    for name in names:
        if name not in sink.own:
            size = sink.base[name].numel()
            for start in range(0, size, PIECE):
                yield name, start, min(start + PIECE, size)


def _on_all_threads(work: Callable[[Span], None], spans: Iterable[Span]) -> None:
    for _ in in_order(work, spans, torch.get_num_threads()):
        pass
