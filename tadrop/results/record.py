"""Records: one JSON file a run, named by the hash of its resolved configuration, with
everything that produced it.

Two side files share the record's name: .tensors.csv.gz (per-tensor sparsification) and
.correct.npz (per-example values at one bit each, for paired tests). All writes are
atomic; the JSON is written last, so a record that is there is complete.
"""

import gzip
import hashlib
import io
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from tadrop.storage.files import write_bytes, write_text
from tadrop.types import Score, TadropError

FORMAT = 1
# of a configuration: where, whether and how a run is made, not what it gives
NOT_SCIENCE = (
    "paths",
    "logger",
    "overwrite",
    "device",
    "experiment",
    "references",
    "hydra",
    "evaluate",
    "export",
    "dry_run",
)
# facts about a row or a model, stored with the record but no part of its name
DESCRIPTIVE = {
    "merge": ("title", "paper", "data", "exceptions", "adapts"),
    "model": ("provide", "verified", "head"),
}
LAYOUTS = "matrices"  # of the model; only methods that work on matrices depend on them
ORDINARY = {
    "dtype": "float32",
    "tuned": None,
}  # part of a name only where they are something else
SUFFIXES = (".tensors.csv.gz", ".correct.npz", ".json")  # in the order of writing
PLACES = (
    "cache",
    "hub_dir",
    "compiled",
)  # of this machine, or another road to the same bits: no part of a name
LIBRARIES = (
    "torch",
    "numpy",
    "safetensors",
    "hydra-core",
    "pillow",
    "matplotlib",
    "scikit-learn",
)

Record = Mapping[str, Any]


def science(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that can change a result.

    The seed is part of it only where a node takes one (`seed: ${seed}`): a run without
    chance is the same for all, and so is one in which TADrop stands in for the
    sparsifier that took it (DARE's).
    """
    matters = {
        k: v
        for k, v in config.items()
        if k not in NOT_SCIENCE and ORDINARY.get(k, ...) != v
    }
    kept = _without_remarks(matters)
    if (
        kept.get("sparsify")
        and (kept.get("tadrop") or {}).get("placement") == "replace"
    ):
        kept["sparsify"] = {k: v for k, v in kept["sparsify"].items() if k != "seed"}
    chance = any(_takes_seed(node) for name, node in kept.items() if name != "seed")
    return kept if chance else kept | {"seed": None}


def _takes_seed(node: Any) -> bool:
    if isinstance(node, Mapping):
        return "seed" in node or any(map(_takes_seed, node.values()))
    return isinstance(node, list | tuple) and any(map(_takes_seed, node))


def _without_remarks(node: Any) -> Any:
    """Without where caches lie and what a row's `exceptions` say to the tests."""
    if isinstance(node, Mapping):
        return {
            k: _without_remarks(v)
            for k, v in node.items()
            if k not in (*PLACES, "exceptions")
        }
    return (
        [_without_remarks(v) for v in node] if isinstance(node, list | tuple) else node
    )


def key(config: Mapping[str, Any]) -> str:
    """16 hex digits of the sha256 of the configuration's science, without what only
    describes it.
    """
    node = science(config)
    node |= {
        group: {k: v for k, v in node[group].items() if k not in words}
        for group, words in DESCRIPTIVE.items()
    }
    if node["merge"].get("method", {}).get("scope") != "matrix":
        node["model"].pop(LAYOUTS, None)
    canonical = json.dumps(node, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def path(folder: Path, config: Mapping[str, Any]) -> Path:
    return folder / f"{key(config)}.json"


def write(
    folder: Path,
    record: Record,
    tensors: Sequence[Mapping[str, Any]] = (),
    scores: Iterable[Score] = (),
) -> Path:
    """Writes side files, then the record; returns the record's path."""
    stem = folder / record["key"]
    if tensors:
        write_bytes(stem.with_suffix(".tensors.csv.gz"), _csv_gz(tensors))
    bits = {
        s.task: np.packbits(s.per_example.numpy().astype(bool))
        for s in scores
        if s.metric == "accuracy"
    }
    if bits:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **bits)
        write_bytes(stem.with_suffix(".correct.npz"), buffer.getvalue())
    target = stem.with_suffix(".json")
    write_text(target, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return target


def _csv_gz(rows: Sequence[Mapping[str, Any]]) -> bytes:
    columns = list(rows[0])
    lines = [",".join(columns)] + [
        ",".join(_cell(row[c]) for c in columns) for row in rows
    ]
    return gzip.compress("\n".join(lines).encode() + b"\n", mtime=0)


def _cell(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def read(file: Path) -> Record:
    """One record. Raises TadropError if the file is not one."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TadropError(f"{file}: not a readable record ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise TadropError(
            f"{file}: not a record of format {FORMAT}; delete it or run again with overwrite=true"
        )
    return record


def read_all(folder: Path) -> list[Record]:
    """All records of a folder, ordered by key."""
    if not folder.is_dir():
        raise TadropError(f"{folder}: no such folder of records")
    return [
        read(file) for file in sorted(folder.glob("[!.]*.json"))
    ]  # a dot: left by a writer that was killed


def read_tensors(folder: Path, record_key: str) -> "pandas.DataFrame":
    """The per-tensor side file of a record."""
    import pandas

    file = folder / f"{record_key}.tensors.csv.gz"
    if not file.exists():
        raise TadropError(f"{file}: this record has no per-tensor statistics")
    return pandas.read_csv(file)


def read_correct(folder: Path, record: Record) -> dict[str, np.ndarray]:
    """Which test examples a run got right: [count] bool by task. Raises TadropError
    where that was not kept.
    """
    file = folder / f"{record['key']}.correct.npz"
    if not file.exists():
        raise TadropError(
            f"{file}: this record has no per-example values; run it again with overwrite=true"
        )
    counts = {score["task"]: score["count"] for score in record["scores"]}
    with np.load(file, allow_pickle=False) as packed:
        return {
            task: np.unpackbits(packed[task], count=counts[task]).astype(bool)
            for task in packed.files
        }


@lru_cache
def provenance() -> dict[str, Any]:
    """Code version, library versions and machine."""
    here = Path(__file__).parent
    return {
        "code": {
            "version": version_of("tadrop"),
            "commit": _git(here, "rev-parse", "HEAD"),
            "dirty": _dirty(here),
        },
        "versions": {"python": platform.python_version()}
        | {name: version_of(name) for name in LIBRARIES},
        "machine": {
            "system": platform.system(),
            "processor": _processor(),
            "cores": _cores(),
        },
    }


def version_of(name: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _dirty(folder: Path) -> bool | None:
    changed = _git(folder, "status", "--porcelain", "--", "*.py", "*.yaml")
    return None if changed is None else bool(changed)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [
        line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
    ]
    return names[0] if names else platform.machine()


def _cores() -> int:
    import os

    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )
