"""Writes what a configuration merges to the folder that it names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tadrop.app.console import stages
from tadrop.app.meter import Meter
from tadrop.app.runs import build
from tadrop.app.runs.build import resolved
from tadrop.app.runs.checks import check_only_merges
from tadrop.app.runs.prepared import Prepared
from tadrop.app.runs.preparing import prepare
from tadrop.app.trackers.entry import of_written
from tadrop.app.trackers.telling import group, tell_of
from tadrop.merging import export as exports
from tadrop.merging.export import Written
from tadrop.merging.source import Plan, Source, dtype_of, held, streamed
from tadrop.results import identity
from tadrop.results.naming import label
from tadrop.results.provenance import version_of
from tadrop.storage import folders
from tadrop.types import TadropError
from tadrop.vectors.merged import Merged
from tadrop.vectors.task_vectors import TaskVectors


def merge_only(cfg: Any) -> Written:
    """Merges checkpoints into cfg.export.dir without evaluating them.

    What is merged goes straight to disk at the row's own scale and is never held.
    """
    check_only_merges(cfg)
    check_out(cfg)
    with stages(label(resolved(cfg))) as progress:
        prepared = prepare(cfg, progress, Meter())
        method = build.part(cfg.merge.method)
        tick = progress.bar("merge", len(prepared.stream.names))
        source = streamed(prepared.stream, method, lambda name: tick())
        written = _write(prepared, source, cfg.merge.scale)
    config = resolved(cfg, missing=False)
    tell_of(cfg.tracker, lambda: of_written(config, written, group()))
    return written


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


def _write(prepared: Prepared, source: Source, scale: float) -> Written:
    cfg, vectors = prepared.cfg, prepared.vectors
    plan = Plan(
        Path(cfg.export.dir),
        scale,
        dtype_of(cfg.export.dtype),
        cfg.export.expand,
        overwrite=cfg.overwrite,
        made=_made(cfg, vectors, scale),
        inputs=tuple(_read_from(vectors)),
    )
    return exports.export(source, vectors.base, vectors.private_tensors(), plan)


def _read_from(vectors: TaskVectors) -> Iterator[Path]:
    """The files and folders of the base and the experts."""
    for checkpoint in (vectors.base, *vectors.experts.values()):
        yield checkpoint.path
        yield from checkpoint.files


def _made(cfg: Any, vectors: TaskVectors, scale: float) -> dict[str, Any]:
    """How an export was made: the settings that matter, and which checkpoints."""
    config = resolved(cfg, missing=False)
    config["tadrop"] = identity.tadrop(config)
    files: dict[str, Any] = {}
    for name, checkpoint in {"base": vectors.base, **vectors.experts}.items():
        files[name] = {file.name: file.stat().st_size for file in checkpoint.files}
    made: dict[str, Any] = {"suite": f"tadrop {version_of('tadrop')}"}
    for word in ("merge", "before", "sparsify", "tadrop", "seed", "select"):
        made[word] = config[word]
    return made | {"scale": scale, "checkpoints": files}
