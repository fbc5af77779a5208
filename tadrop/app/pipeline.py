"""The stages of a run, from configuration nodes to a record; run.py strings them
together.
"""

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tadrop.app import trackers as loggers
from tadrop.app.console import Progress, mistake, stages
from tadrop.app.meter import Meter
from tadrop.evaluation import bench as evaluation
from tadrop.evaluation import selection as selecting
from tadrop.evaluation.bench import Bench
from tadrop.evaluation.selection import Selection, check_rule
from tadrop.evaluation.statistics import TaskStatistics, gather
from tadrop.merging import engine as merging
from tadrop.merging import export as exporting
from tadrop.merging.export import Plan, Source, Written
from tadrop.models.backbone import Backbone, layouts
from tadrop.models.local import Local
from tadrop.protocols import Sparsifier, Stream
from tadrop.results import record as records
from tadrop.sparsify.controls import control
from tadrop.sparsify.cut_stream import Sparse, all_cuts
from tadrop.sparsify.tadrop import TADrop
from tadrop.types import Score, TadropError
from tadrop.vectors.merged import Merged
from tadrop.vectors.names import cut_name, numel
from tadrop.vectors.task_vectors import TaskVectors

# what a merge row may say under `data:`, and the split that this reads beside the one
# that is
# reported
DATA = {
    "none": None,
    "validation labels": "validation",
    "training inputs": "train",
    "training labels": "train",
    "test inputs": None,  # of the reported split
}
READING = (
    "prepare",
    "statistics",
    "refine",
)  # the stages of a merge row that read data or run the model


@contextmanager
def mistakes_in_one_line(sweeping: bool = False) -> Iterator[None]:
    """Turns a TadropError, wherever Hydra may have wrapped it, into one line on
    standard error and exit code 1.

    In a sweep it is one job's: the others run, and Hydra exits with 1 at the end.
    """
    try:
        yield
    except Exception as error:
        cause = mistake(error)
        if cause is None:
            # a sweep goes on with its other jobs, and Hydra shows this only at the very
            # end
            traceback.print_exc()
            raise
        if sweeping:
            sys.stderr.write(f"error: {cause}\n")
            raise cause from None
        sys.exit(f"error: {cause}")


def check(cfg: Any) -> None:
    """Builds everything that only needs the configuration, so that a mistake is found
    before anything runs.
    """
    check_rule(cfg.select, cfg.tuned)
    device_of(cfg.device)
    dtype_of(cfg.dtype)
    split_of(cfg.merge.get("data", "none"))
    nodes = (cfg.sparsify, cfg.tadrop, cfg.merge.method, cfg.model, cfg.tasks)
    for node in (*nodes, *map(cfg.merge.get, READING)):
        instantiate(node)


def label(config: Mapping[str, Any]) -> str:
    """A short name of a run for progress bars: row, and TADrop where it is on."""
    tadrop = config["tadrop"]
    suffix = (
        ""
        if tadrop is None
        else " + TADrop"
        if tadrop["assign"] == "adaptive"
        else f" + {tadrop['assign']}"
    )
    return config["merge"]["title"] + suffix


def device_of(word: str) -> torch.device:
    """auto: the GPU if there is one."""
    if word == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if word.startswith("cuda") and not torch.cuda.is_available():
        raise TadropError(
            f"device={word}, but torch sees no GPU here; use device=cpu or device=auto"
        )
    try:
        return torch.device(word)
    except RuntimeError as error:
        raise TadropError(
            f"device is {word!r}; it must be auto, cpu or cuda"
        ) from error


def dtype_of(word: str) -> torch.dtype:
    """What an evaluation computes in."""
    if word not in ("float32", "bfloat16"):
        raise TadropError(f"dtype is {word!r}; it must be float32 or bfloat16")
    return getattr(torch, word)


def load(config: Mapping[str, Any]) -> tuple[Bench, TaskVectors]:
    """Opens checkpoints and tasks; shared by all jobs of a sweep that use the same
    ones.
    """
    return _load(
        json.dumps(
            [config["model"], config["tasks"], config["device"], config["dtype"]]
        )
    )


@lru_cache(maxsize=1)
def _load(nodes: str) -> tuple[Bench, TaskVectors]:
    model, tasks, device, dtype = json.loads(nodes)
    suite, device = instantiate(tasks), device_of(device)
    backbone, stream = _stream(instantiate(model).bound(suite), suite.names, device)
    return evaluation.set_up(
        backbone, stream.base, stream.experts, suite, device, dtype_of(dtype)
    ), stream


def open_stream(config: Mapping[str, Any]) -> TaskVectors:
    """Opens checkpoints alone, for a merge that is written and not evaluated."""
    backbone = instantiate(config["model"])
    if isinstance(backbone, Local):
        return _stream(backbone, backbone.tasks, device_of(config["device"]))[1]
    suite = instantiate(config["tasks"])
    return _stream(backbone.bound(suite), suite.names, device_of(config["device"]))[1]


def _stream(
    backbone: Any, tasks: Sequence[str], device: torch.device
) -> tuple[Any, TaskVectors]:
    """The backbone, with every private tensor known, and the task vectors of the
    others.
    """
    base = backbone.open_base()
    experts = {task: backbone.open_expert(task) for task in tasks}
    if isinstance(backbone, Backbone):
        backbone = backbone.settled(base, experts)
    stream = TaskVectors(base, experts, tuple(backbone.private), device)
    return backbone, replace(
        stream, layouts=layouts(backbone.name, backbone.matrices, stream.shapes)
    )


def prepare(cfg: Any, bench: Bench, stream: Stream, progress: Progress) -> Stream:
    """What the row makes of the task vectors before they are sparsified, where it says:
    bands weighed by a search.
    """
    if cfg.merge.get("prepare") is None:
        return stream
    return instantiate(cfg.merge.prepare)(stream, bench, progress.bar("prepare", None))


def sparsify(stream: Stream, native: Any, tadrop: Any, progress: Progress) -> Stream:
    """The native sparsifier, TADrop in its place, or TADrop before it. Plans every cut."""
    native, tadrop = instantiate(native), instantiate(tadrop)
    for rule in _order(native, tadrop):
        if isinstance(rule, TADrop) and rule.assign != "adaptive":
            rule = control(rule, all_cuts(_planned(stream, rule, progress)))
        stream = _planned(stream, rule, progress)
    return stream


def _order(native: Sparsifier | None, tadrop: TADrop | None) -> list[Sparsifier]:
    if tadrop is None:
        return [native] if native else []
    return [tadrop, native] if native and tadrop.placement == "before" else [tadrop]


def _planned(stream: Stream, rule: Sparsifier, progress: Progress) -> Sparse:
    count = len(stream.tasks) * len(
        {cut_name(rule.scope, name) for name in stream.names}
    )
    sparse = Sparse(stream, rule, progress.bar("sparsify", count))
    all_cuts(sparse)
    return sparse


def split_of(data: str) -> str | None:
    """The split that a merge row's `data:` sees before it is evaluated; None where it
    sees none.
    """
    if data not in DATA:
        raise TadropError(
            f"merge.data is {data!r}; it must be one of {', '.join(DATA)}"
        )
    return DATA[data]


def statistics(
    cfg: Any, bench: Bench, stream: Stream, progress: Progress
) -> TaskStatistics | None:
    """What the row's method needs to know of every task's model on its data; None where
    it declares nothing.
    """
    if cfg.merge.get("statistics") is None:
        return None
    recipe = instantiate(cfg.merge.statistics)
    if recipe.split != split_of(cfg.merge.data):
        raise TadropError(
            f"merge.statistics.split is {recipe.split!r}, but merge.data says {cfg.merge.data!r}"
        )
    tick = progress.bar("statistics", len(bench.experts))
    return gather(recipe, bench, stream.names, Path(cfg.paths.cache), tick)


def merge(
    stream: Stream, method: Any, statistics: TaskStatistics | None, progress: Progress
) -> Merged:
    tick = progress.bar("merge", len(stream.names))
    return merging.merge(stream, instantiate(method), lambda name: tick(), statistics)


def merge_only(cfg: Any) -> Written:
    """Merges checkpoints into cfg.export.dir without evaluating them; returns what was
    written.
    """
    if not cfg.export.dir:
        raise TadropError("evaluate=false only merges: say where to, export.dir=OUT")
    if cfg.select != "fixed":
        raise TadropError(
            f"select={cfg.select} needs an evaluation; with evaluate=false set merge.scale instead"
        )
    _only_weights(cfg)
    with stages(label(cfg)) as progress:
        stream = open_stream(OmegaConf.to_container(cfg, resolve=True))
        return merge_to_disk(
            cfg, stream, sparsify(stream, cfg.sparsify, cfg.tadrop, progress), progress
        )


def merge_to_disk(
    cfg: Any, stream: TaskVectors, sparse: Stream, progress: Progress
) -> Written:
    """Merges straight into cfg.export.dir, at the row's own scale; what was merged is
    never held.
    """
    method = instantiate(cfg.merge.method)
    tick = progress.bar("merge", len(stream.names))
    return _write(
        cfg,
        stream,
        exporting.streamed(sparse, method, lambda name: tick()),
        cfg.merge.scale,
    )


def _only_weights(cfg: Any) -> None:
    """A row that looks at data needs the evaluation's data and module."""
    if any(cfg.merge.get(stage) is not None for stage in READING):
        raise TadropError(
            f"merge={cfg.merge.name} looks at data or at the model: it needs evaluate=true"
        )


def export(cfg: Any, stream: TaskVectors, merged: Merged, scale: float) -> Written:
    """Writes a merge in memory to cfg.export.dir."""
    if merged.attachment is not None:
        raise TadropError(
            f"merge={cfg.merge.name} is more than weights (adapters, or experts): it cannot be exported"
        )
    return _write(cfg, stream, exporting.held(merged), scale)


def _write(cfg: Any, stream: TaskVectors, source: Source, scale: float) -> Written:
    plan = Plan(
        Path(cfg.export.dir),
        scale,
        exporting.dtype_of(cfg.export.dtype),
        cfg.export.expand,
        overwrite=cfg.overwrite,
        made=_made(cfg, stream, scale),
    )
    return exporting.export(source, stream.base, stream.private_tensors(), plan)


def _made(cfg: Any, stream: TaskVectors, scale: float) -> dict[str, Any]:
    """How an export was made: the configuration that matters and the checkpoints, with
    sizes to tell them apart.
    """
    config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    checkpoints = {"base": stream.base} | dict(stream.experts)
    files = {
        name: {"path": str(c.path), "bytes": [f.stat().st_size for f in c.files]}
        for name, c in checkpoints.items()
    }
    kept = {
        key: config[key] for key in ("merge", "sparsify", "tadrop", "seed", "select")
    }
    return (
        {"suite": f"tadrop {records.version_of('tadrop')}"}
        | kept
        | {"scale": scale, "checkpoints": files}
    )


def refine(
    cfg: Any,
    bench: Bench,
    stream: Stream,
    merged: Merged,
    scale: float,
    progress: Progress,
) -> Merged:
    """What the row makes of the merge, where it says: adaptation, adapters, routed
    experts.
    """
    if cfg.merge.get("refine") is None:
        return merged
    split_of(cfg.merge.data)
    return instantiate(cfg.merge.refine)(
        merged, stream, bench, scale, progress.bar("refine", None)
    )


def select(
    cfg: Any,
    bench: Bench,
    stream: Stream,
    statistics: TaskStatistics | None,
    merged: Merged,
    progress: Progress,
) -> tuple[Merged, Selection]:
    """The scale and knobs that the rule takes, and the merge with them; `merged` is the
    one with the row's own.
    """
    check_rule(cfg.select, cfg.tuned)
    if cfg.tuned:
        return merged, Selection(
            "tuned",
            float(cfg.merge.scale),
            "validation",
            knobs=_plain(cfg.merge, "knobs"),
        )
    knobs, tune, scales = (
        _plain(cfg.merge, "knobs"),
        _plain(cfg.merge, "tune"),
        sorted(cfg.merge.scale_grid),
    )
    if cfg.select == "fixed" or (len(scales) <= 1 and not tune):
        return merged, Selection("fixed", float(cfg.merge.scale), knobs=knobs)
    tick = progress.bar(
        "select", selecting.count(tune, len(scales)) * len(bench.tasks.names)
    )
    attempt = partial(_attempt, cfg, bench, stream, statistics, tick)
    earlier = []
    for name, rule in tune.items():
        if selecting.is_per_task(rule):
            node = f"merge.tune.{name}.method" if "method" in rule else "merge.method"
            at = [rule.get("scale", cfg.merge.scale)]
            points = [
                point
                for value in sorted(rule["grid"])
                for point in attempt(node, knobs | {name: value}, at)
            ]
            knobs, earlier = (
                knobs | {name: selecting.per_task(name, points)},
                earlier + points,
            )
    known = None if tune else merged
    together = selecting.combinations(tune)
    points = [
        point
        for some in together
        for point in attempt("merge.method", knobs | some, scales, known)
    ]
    selection = selecting.best(points, earlier)
    return known or merge(
        stream, _with_knobs(cfg, selection.knobs).merge.method, statistics, Progress()
    ), selection


def _plain(row: Any, key: str) -> dict[str, Any]:
    """A part of a merge row as it is written; empty where the row has none."""
    return OmegaConf.to_container(row[key]) if key in row else {}


def _attempt(
    cfg: Any,
    bench: Bench,
    stream: Stream,
    statistics: TaskStatistics | None,
    tick: Callable[[], None],
    node: str,
    knobs: Mapping[str, Any],
    scales: Sequence[float],
    merged: Merged | None = None,
) -> list[dict[str, Any]]:
    """A trial for every scale with these knobs; merges first unless handed what they
    give.
    """
    merged = merged or merge(
        stream, OmegaConf.select(_with_knobs(cfg, knobs), node), statistics, Progress()
    )
    trials = []
    for scale in scales:
        scores = evaluation.evaluate(
            bench, merged, scale, "validation", on_task=lambda score: tick()
        )
        trials.append(selecting.trial(knobs, scale, scores))
    return trials


def _with_knobs(cfg: Any, knobs: Mapping[str, Any]) -> Any:
    """The configuration with these values under merge.knobs, which the method's node
    refers to.
    """
    return OmegaConf.merge(cfg, {"merge": {"knobs": dict(knobs)}}) if knobs else cfg


def evaluate(
    bench: Bench, merged: Merged, scale: float, split: str, progress: Progress
) -> list[Score]:
    tick = progress.bar("evaluate", len(bench.tasks.names))
    return evaluation.evaluate(
        bench, merged, scale, split, on_task=lambda score: tick()
    )


def tensor_rows(stream: Stream) -> list[dict[str, Any]]:
    """One row per task and tensor with what TADrop, or the last per-tensor magnitude
    rule, did to it.
    """
    if not isinstance(stream, Sparse) or stream.sparsifier.scope != "tensor":
        return []
    rows = []
    for (task, name), cut in stream.cuts.items():
        facts = cut.facts()
        if "kept" not in facts:
            return []
        sparsity = 1 - facts["kept"] / facts["size"]
        row = {
            "task": task,
            "tensor": name,
            "size": facts["size"],
            "ratio": facts.get("ratio", ""),
        }
        rows.append(row | {"sparsity": sparsity, "scale": facts["scale"]})
    return rows


def tell(logger: Any, record: Mapping[str, Any], folder: Path) -> None:
    """Tells the tracker of a run whose record is written; a tracker that fails costs a
    line, not the run.
    """
    files = [folder / f"{record['key']}{suffix}" for suffix in records.SUFFIXES]
    loggers.tell(instantiate(logger), lambda tracker: tracker.log(record, files))


def _score(score: Score) -> dict[str, Any]:
    fields = {
        name: getattr(score, name)
        for name in ("task", "split", "metric", "value", "count")
    }
    return fields | ({"details": dict(score.details)} if score.details else {})


def describe(
    config: Mapping[str, Any],
    bench: Bench,
    stream: Stream,
    merged: Merged,
    selection: Selection,
    scores: Sequence[Score],
    meter: Meter,
) -> dict[str, Any]:
    """The record of a run."""
    splits = {
        config["split"],
        selection.split,
        split_of(config["merge"].get("data", "none")),
    } - {None}
    result = {
        "format": records.FORMAT,
        "key": records.key(config),
        "label": label(config),
        "config": records.science(config),
        "protocol": {
            "tasks": bench.tasks.protocol,
            "split": config["split"],
            "limit": config["limit"],
            "metric": bench.tasks.metric,
        },
        "selection": vars(selection),
        "scores": [_score(s) for s in scores],
        "published": bench.backbone.published(),
        "density": merged.density,
        "private": list(bench.backbone.private),
        "parameters": sum(numel(shape) for shape in stream.shapes.values()),
        "stored_bytes": merged.stored_bytes(),
        "factors": _factors(merged),
        "checkpoints": {"base": bench.base.fingerprint()}
        | {t: c.fingerprint() for t, c in bench.experts.items()},
        "data": {
            f"{t}/{s}": bench.tasks.fingerprint(t, s)
            for t in bench.tasks.names
            for s in sorted(splits)
        },
        "threads": torch.get_num_threads(),
        "dtype": config["dtype"],
        "device": str(bench.device)
        if bench.device.type == "cpu"
        else torch.cuda.get_device_name(bench.device),
        "seconds": dict(meter.seconds),
        "peak_bytes": meter.peak_bytes(),
    }
    found = {**stream.found, **merged.found}
    return result | ({"found": found} if found else {}) | records.provenance()


def _factors(merged: Merged) -> dict[str, float] | None:
    if merged.factors is None:
        return None
    return dict(
        zip(
            merged.tasks, merged.factors.expand(len(merged.tasks)).tolist(), strict=True
        )
    )
