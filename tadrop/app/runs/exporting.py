"""Writes what a configuration merges to the folder that it names."""

import re
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from math import prod
from pathlib import Path
from typing import Any

from tadrop.app.console import Progress, stages
from tadrop.app.meter import Meter
from tadrop.app.runs import build
from tadrop.app.runs.memory import check_memory
from tadrop.app.runs.prepared import Prepared
from tadrop.app.runs.preparing import prepare
from tadrop.app.schema.only_merges import check_only_merges
from tadrop.app.schema.values import resolved
from tadrop.app.trackers.entry import of_written
from tadrop.app.trackers.telling import forewarn, group, tell_of
from tadrop.merging import export as exports
from tadrop.merging.engine import NO_KNOBS, Knobs
from tadrop.merging.export import Written
from tadrop.merging.method import Method
from tadrop.merging.source import Plan, Source, dtype_of, held, streamed
from tadrop.merging.weighting import Table, by_tensor, check_weights, table
from tadrop.protocols.streams import Stream
from tadrop.results import identity
from tadrop.results.identity import label
from tadrop.results.provenance import version_of
from tadrop.storage import folders
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import TadropError
from tadrop.vectors.merged import Merged
from tadrop.vectors.task_vectors import TaskVectors

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


Pages = Callable[[Mapping[str, Any]], Mapping[str, str]]


def merge_only(
    cfg: Any, pages: Pages = lambda note: {}, silent: bool = False
) -> Written:
    """Merges checkpoints into cfg.export.dir without evaluating them.

    What is merged goes straight to disk at the row's own scale and is never held.
    pages:  text files beside it, from what tadrop.json says
    silent: what is doubtful about the checkpoints was said before
    """
    check_only_merges(cfg)
    check_out(cfg)
    forewarn(cfg.tracker)
    with stages(label(resolved(cfg))) as progress:
        prepared = prepare(cfg, progress, Meter(), silent)
        check_memory(cfg, prepared.vectors)
        source = source_of(prepared, progress)
        written = _write(prepared, source, cfg.merge.scale, pages)
    config = resolved(cfg, missing=False)
    tell_of(cfg.tracker, lambda: of_written(config, written, group()))
    return written


def source_of(prepared: Prepared, progress: Progress) -> Source:
    """A merge that runs while it is written, with a bar of bytes."""
    cfg, stream = prepared.cfg, prepared.stream
    method = build.part(cfg.merge.method)
    sizes: dict[str, int] = {}
    for name, shape in stream.shapes.items():
        sizes[name] = 4 * len(stream.tasks) * prod(shape)
    tell = progress.amount("merge", sum(sizes.values()))
    weights = _weights(cfg, stream, method)
    knobs = _knobs(cfg, stream, method)
    return streamed(stream, method, lambda name: tell(sizes[name]), weights, knobs)


def _weights(cfg: Any, stream: Stream, method: Method) -> Table | None:
    """How much each expert counts, where the model says it; None where all count alike.

    Raises TadropError for a row that has no weights.
    """
    rules = resolved(cfg.model.get("weights"))
    if not rules:
        return None
    check_weights(cfg.merge.name, method)
    return table("model.weights", rules, stream.tasks, stream.names)


def _knobs(cfg: Any, stream: Stream, method: Method) -> Knobs:
    """Settings of the formula that the model gives by tensor: t of an interpolation.

    Raises TadropError for a row that has no t.
    """
    rule = resolved(cfg.model.get("t"))
    if rule is None:
        return NO_KNOBS
    parameters = signature(method.merge).parameters
    if "t" not in parameters:
        raise TadropError(
            f"merge={cfg.merge.name} has no t, which is how far slerp goes from the "
            "first model to the second"
        )
    return {"t": by_tensor("model.t", rule, stream.names, parameters["t"].default)}


def check_out(cfg: Any) -> None:
    """Raises TadropError, before anything is read, where cfg.export.dir cannot be."""
    if not cfg.export.dir:
        return
    given = [cfg.model.get("base"), *_listed(cfg.model.get("experts"))]
    places = [Path(place) for place in given if isinstance(place, str) and place]
    folders.check(Path(cfg.export.dir), cfg.overwrite, filter(_exists, places))


def _listed(experts: Any) -> list[Any]:
    """The experts that a model's node names one by one."""
    return [] if experts is None or isinstance(experts, str) else list(experts)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no disk takes
        return False


def export(prepared: Prepared, merged: Merged, scale: float) -> Written:
    """Writes a merge in memory to cfg.export.dir."""
    if merged.attachment is not None:
        raise TadropError(
            f"merge={prepared.cfg.merge.name} is more than weights "
            "(adapters, or experts): it cannot be exported"
        )
    return _write(prepared, held(merged), scale)


def _write(
    prepared: Prepared, source: Source, scale: float, pages: Pages = lambda note: {}
) -> Written:
    cfg, vectors = prepared.cfg, prepared.vectors
    plan = Plan(
        Path(cfg.export.dir),
        scale,
        dtype_of(cfg.export.dtype),
        cfg.export.expand,
        size_of(cfg.export.shard_size),
        overwrite=cfg.overwrite,
        made=_made(cfg, prepared, scale),
        cut=_sparsities(prepared.stream),
        pages=pages,
        inputs=tuple(_read_from(vectors)),
    )
    private = vectors.private_tensors()
    return exports.export(source, vectors.base, private, plan, vectors.experts)


def size_of(text: str) -> int:
    """Bytes of a size such as 5GB; units are decimal."""
    number = text.strip().rstrip("BKMGTbkmgt").strip()
    unit = text.strip()[len(number) :].strip().upper()
    return int(float(number) * UNITS[unit])


def _read_from(vectors: TaskVectors) -> Iterator[Path]:
    """The files and folders of the base and the experts."""
    for checkpoint in (vectors.base, *vectors.experts.values()):
        yield checkpoint.path
        yield from checkpoint.files


def _made(cfg: Any, prepared: Prepared, scale: float) -> dict[str, Any]:
    """How an export was made: the settings that matter, and which checkpoints.

    It holds no paths: the same merge from another folder has the same bytes.
    """
    vectors = prepared.vectors
    config = resolved(cfg, missing=False)
    config["tadrop"] = identity.tadrop(config)
    made: dict[str, Any] = {"suite": f"tadrop {version_of('tadrop')}"}
    for word in ("merge", "before", "sparsify", "tadrop", "seed", "select"):
        made[word] = config[word]
    counts = {word: config["model"].get(word) for word in ("weights", "density")}
    if any(counts.values()):
        made["by_expert"] = counts
    if config["model"].get("t") is not None:
        made["by_tensor"] = {"t": config["model"]["t"]}
    experts = {name: _files(one) for name, one in vectors.experts.items()}
    made["checkpoints"] = {"base": _files(vectors.base), "experts": experts}
    made["notes"] = list(map(_without_folders, vectors.base.notes))
    made["matrices"] = len(prepared.stream.matrix_layouts)
    return made | {"scale": scale}


def _sparsities(stream: Stream) -> dict[str, dict[str, float]]:
    """The share of entries that was cut, by vector (mostly a tensor) and task.

    Cuts that are left to chance are not among them: their share is the row's setting.
    """
    shares: dict[str, dict[str, float]] = {}
    for (task, name), cut in stream.cuts().items():
        facts = cut.facts()
        if facts is not None and facts.size:
            share = 1 - facts.kept / facts.size
            shares.setdefault(name, {})[task] = round(share, 6)
    return shares


def _files(checkpoint: Checkpoint) -> dict[str, int]:
    """Bytes of each file, by its name; of a module's with its folder."""
    sizes: dict[str, int] = {}
    main = checkpoint.files[0].parent if checkpoint.files else checkpoint.path
    for file in checkpoint.files:
        sizes[file.relative_to(main).as_posix()] = file.stat().st_size
    return sizes


def _without_folders(note: str) -> str:
    """A note with paths shortened to their last word."""
    return re.sub(r"(?:[^\s:;(]*/)+([^/\s:;)]+)", r"\1", note)
