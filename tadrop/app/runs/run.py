"""One run, or its record if there is one already; and the references of every table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from tadrop.app.console import stages, waiting
from tadrop.app.meter import Meter
from tadrop.app.runs import arriving, exporting
from tadrop.app.runs.checks import split_of
from tadrop.app.runs.prepared import Prepared
from tadrop.app.runs.preparing import merged, prepare
from tadrop.app.schema.values import resolved
from tadrop.app.trackers.entry import of_record
from tadrop.app.trackers.telling import forewarn, group, tell_of
from tadrop.evaluation.bench import evaluate
from tadrop.evaluation.selection import Selection
from tadrop.merging.packed import file as packed
from tadrop.merging.packed.measuring import through_disk
from tadrop.protocols.streams import Stream
from tadrop.results import identity, record
from tadrop.results.identity import label
from tadrop.results.provenance import provenance
from tadrop.results.record import Record
from tadrop.storage.files import claimed
from tadrop.types import Score
from tadrop.vectors.merged import Merged
from tadrop.vectors.names import numel

# What a reference run is not: sparsified, tuned, one of several seeds, exported.
REFERENCE = {
    "arrival": False,
    "before": None,
    "export": {"dir": None},
    "overwrite": False,
    "seed": 0,
    "select": "fixed",
    "sparsify": None,
    "tadrop": None,
    "tuned": None,
}


def reference_configs(cfg: DictConfig) -> list[DictConfig]:
    """The runs that every table needs: individual models, and the untouched base."""
    references = cfg.references.values()
    return [OmegaConf.create({**cfg, **REFERENCE, "merge": row}) for row in references]


def recorded(cfg: DictConfig) -> bool:
    """Whether `run` would only read a record, as there is one already."""
    again = cfg.overwrite or cfg.export.dir
    return not again and record.path(Path(cfg.paths.records), resolved(cfg)).exists()


def run(cfg: DictConfig) -> Record:
    """One run, or its record if there is one already. Returns the record."""
    config = resolved(cfg)
    file = record.path(Path(cfg.paths.records), config)
    again = cfg.overwrite or cfg.export.dir
    if file.exists() and not again:
        return record.read(file)
    locks = Path(cfg.paths.cache) / "locks"
    with claimed(file, locks, lambda: waiting(label(config))):
        if file.exists() and not again:
            return record.read(file)
        return measure(cfg, config, file.parent)


def measure(cfg: DictConfig, config: Mapping[str, Any], folder: Path) -> Record:
    """Merges, evaluates, and writes the record into the folder.

    config: cfg, resolved. Returns the record.
    """
    exporting.check_out(cfg)
    forewarn(cfg.tracker)
    meter = Meter()
    with stages(label(config)) as progress:
        prepared = prepare(cfg, progress, meter)
        bench = prepared.evaluated()
        arrivals = None
        if cfg.arrival:
            with meter.stage("arrive"):
                outcome, arrivals = arriving.arrived(prepared, progress)
            selection = Selection("fixed", float(cfg.merge.scale))
        else:
            outcome, selection = merged(prepared, progress, meter)
        if cfg.pack:
            with meter.stage("pack"):
                outcome = through_disk(outcome, Path(cfg.paths.cache))
        with meter.stage("evaluate"):
            tick = progress.bar("evaluate", len(bench.tasks.names))
            scores = evaluate(
                bench,
                outcome,
                selection.scale,
                cfg.split,
                on_task=lambda score: tick(),
            )
        result = describe(config, prepared, outcome, selection, scores, meter)
        if arrivals is not None:
            result["arrival"] = arriving.told(arrivals, scores)
        record.write(folder, result, tensor_rows(prepared.stream), scores)
        if arrivals is not None:
            arriving.ended(prepared)
        if cfg.export.dir:
            exporting.export(prepared, outcome, selection.scale)
            if cfg.pack:
                packed.write(Path(cfg.export.dir) / packed.NAME, outcome)
    tell_of(cfg.tracker, lambda: of_record(result, folder, group()))
    return result


def tensor_rows(stream: Stream) -> list[dict[str, Any]]:
    """What the last per-tensor magnitude rule did: one row per task and tensor."""
    rows: list[dict[str, Any]] = []
    for (task, name), cut in stream.cuts().items():
        facts = cut.facts()
        # What a random rule keeps is not known beforehand, and a layer is no tensor.
        if facts is None or name not in stream.shapes:
            return []
        row = {
            "task": task,
            "tensor": name,
            "size": facts.size,
            "ratio": "" if facts.ratio is None else facts.ratio,
            "sparsity": 1 - facts.kept / facts.size,
            "scale": facts.factor,
        }
        rows.append(row)
    return rows


def describe(
    config: Mapping[str, Any],
    prepared: Prepared,
    outcome: Merged,
    selection: Selection,
    scores: Sequence[Score],
    meter: Meter,
) -> dict[str, Any]:
    """The record of a run."""
    bench, stream = prepared.evaluated(), prepared.stream
    device = bench.device
    on_cpu = device.type == "cpu"
    checkpoints = {"base": bench.base.fingerprint()}
    for task, expert in bench.experts.items():
        checkpoints[task] = expert.fingerprint()
    result = {
        "format": record.FORMAT,
        "key": identity.key(config),
        "label": label(config),
        "config": identity.settings(config),
        "protocol": {
            "tasks": bench.tasks.protocol(),
            "split": config["split"],
            "limit": config["limit"],
            "metric": bench.tasks.metric,
        },
        "selection": vars(selection),
        "scores": [_score(score) for score in scores],
        "published": bench.model.published(),
        "density": outcome.density,
        "private": list(bench.model.private),
        "parameters": sum(map(numel, stream.shapes.values())),
        "stored_bytes": outcome.stored_bytes(),
        "factors": _factors(outcome),
        "checkpoints": checkpoints,
        "data": _data(config, prepared, selection),
        "threads": torch.get_num_threads(),
        "dtype": config["dtype"],
        "device": str(device) if on_cpu else torch.cuda.get_device_name(device),
        "seconds": dict(meter.seconds),
        "peak_bytes": meter.peak_bytes(),
    }
    found = {**stream.found, **outcome.found}
    if found:
        result["found"] = found
    return result | provenance()


def _score(score: Score) -> dict[str, Any]:
    """A score as it is recorded."""
    fields: dict[str, Any] = {
        "task": score.task,
        "split": score.split,
        "metric": score.metric,
        "value": score.value,
        "count": score.count,
    }
    if score.details:
        fields["details"] = dict(score.details)
    return fields


def _data(
    config: Mapping[str, Any], prepared: Prepared, selection: Selection
) -> dict[str, str]:
    """Fingerprints of every split that the run read, by task/split."""
    tasks = prepared.evaluated().tasks
    seen = split_of(config["merge"].get("data", "none"))
    splits = {config["split"], selection.split, seen} - {None}
    fingerprints: dict[str, str] = {}
    for task in tasks.names:
        for split in sorted(splits):
            fingerprints[f"{task}/{split}"] = tasks.fingerprint(task, split)
    return fingerprints


def _factors(outcome: Merged) -> dict[str, float] | None:
    """The factor of every task, where the merge has any."""
    if outcome.factors is None:
        return None
    factors = outcome.factors.expand(len(outcome.tasks)).tolist()
    return dict(zip(outcome.tasks, factors, strict=True))
