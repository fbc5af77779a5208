"""The one way from a configuration to merged weights.

A run, the exporter, the library's merge_checkpoints and the answers for the VQA server
all go through `prepare`, and then through `merged` (held in memory, for an evaluation)
or through exporting.write_streamed (straight to disk).
"""

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from tadrop.app.console import Progress, err, say
from tadrop.app.meter import Meter
from tadrop.app.runs import build, selecting
from tadrop.app.runs.checks import split_of
from tadrop.app.runs.opening import open_bench, open_stream
from tadrop.app.runs.prepared import Prepared
from tadrop.app.schema.values import resolved
from tadrop.evaluation.bench import Bench
from tadrop.evaluation.selection import Selection
from tadrop.evaluation.statistics import TaskStatistics, gather
from tadrop.merging.weighting import varied
from tadrop.protocols.streams import Sparsifier, Stream
from tadrop.results import identity
from tadrop.sparsify.chain import Transformation, chain, sparsified
from tadrop.storage.atomic import caching
from tadrop.types import TadropError
from tadrop.vectors.merged import Merged
from tadrop.vectors.names import cut_name


def prepare(
    cfg: Any, progress: Progress, meter: Meter, silent: bool = False
) -> Prepared:
    """Opens checkpoints, and tasks if they are evaluated; then all before the merge.

    silent: what is doubtful about checkpoints was said before
    """
    config = resolved(cfg)
    if cfg.evaluate:
        tell_of_cache(Path(cfg.paths.cache))
    with meter.stage("load"):
        if cfg.evaluate:
            bench, vectors = open_bench(config)
        else:
            bench, vectors = None, open_stream(config, silent)
    with meter.stage("sparsify"):
        before = transformations(cfg, config, bench, progress)
        stream = chain(before)(vectors)
    with meter.stage("statistics"):
        statistics = gathered(cfg, bench, stream, progress)
    return Prepared(cfg, vectors, stream, bench, statistics)


@cache
def tell_of_cache(folder: Path) -> None:
    """Says, once, that a cache cannot be written."""
    if not caching.is_writable(folder):
        say(f"{folder} cannot be written: what is cached is made anew each time", err)


def transformations(
    cfg: Any, config: Mapping[str, Any], bench: Bench | None, progress: Progress
) -> list[Transformation]:
    """What happens to the task vectors before the merge,
    in the order of application.
    """
    own = build.rule(cfg.sparsify)
    known = {
        "search": partial(_searched, cfg, bench, progress),
        "tadrop": partial(_cut, build.tadrop(cfg), progress, None),
        "sparsify": partial(_cut, own, progress, cfg.model.get("density")),
    }
    steps = identity.steps(config)
    if cfg.model.get("density") and "sparsify" not in steps:
        raise TadropError(
            "model.density is what the row's own sparsifier keeps; "
            f"{'TADrop stands in for it' if 'tadrop' in steps else 'this row has none'}"
        )
    return [known[word] for word in steps]


def _searched(
    cfg: Any, bench: Bench | None, progress: Progress, stream: Stream
) -> Stream:
    """What the row's own search makes of the task vectors."""
    search = build.part(cfg.merge.search)
    each = cfg.merge.search.get("evaluations")
    steps = None if each is None else each * len(stream.tasks)
    return search(stream, bench, progress.bar("search", steps))


def _cut(
    rule: Sparsifier | None, progress: Progress, density: Any, stream: Stream
) -> Stream:
    """The stream behind a sparsifier, every cut planned. density: by expert,
    or None.
    """
    if rule is None:
        return stream
    if density:
        rule = varied(rule, resolved(density), stream)
    covered = {cut_name(rule.scope, name) for name in stream.names}
    tick = progress.bar("sparsify", len(stream.tasks) * len(covered))
    return sparsified(rule, tick)(stream)


def gathered(
    cfg: Any, bench: Bench | None, stream: Stream, progress: Progress
) -> TaskStatistics | None:
    """The statistics that the row declares; None where it declares none."""
    measurement = build.part(cfg.merge.get("statistics"))
    if measurement is None or bench is None:
        return None
    if measurement.split != split_of(cfg.merge.data):
        raise TadropError(
            f"merge.statistics.split is {measurement.split!r}, "
            f"but merge.data says {cfg.merge.data!r}"
        )
    tick = progress.bar("statistics", len(bench.experts))
    return gather(measurement, bench, stream.names, Path(cfg.paths.cache), tick)


def merged(
    prepared: Prepared, progress: Progress, meter: Meter
) -> tuple[Merged, Selection]:
    """The merge in memory at the scale and knobs that the selection rule takes."""
    with meter.stage("merge"):
        first = selecting.merge(prepared, prepared.cfg.merge.method, progress)
    with meter.stage("select"):
        chosen, selection = selecting.select(prepared, first, progress)
    with meter.stage("refine"):
        refined = _refined(prepared, chosen, selection.scale, progress)
    return refined, selection


def _refined(
    prepared: Prepared, merge: Merged, scale: float, progress: Progress
) -> Merged:
    """What the row makes of the merge: adaptation, adapters, routed experts."""
    refine = build.part(prepared.cfg.merge.get("refine"))
    if refine is None:
        return merge
    tick = progress.bar("refine", prepared.cfg.merge.refine.get("evaluations"))
    return refine(merge, prepared.stream, prepared.bench, scale, tick)
