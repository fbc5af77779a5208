"""Records made by hand: two tasks, no model, no files but those asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tadrop.results import identity
from tadrop.results import record as records
from tadrop.types import Score

TITLES = {
    "ties": "TIES",
    "emr": "EMR",
    "dare": "DARE",
    "individual": "Individual",
    "pretrained": "Pretrained",
}
ADAPTIVE = {
    "q_lo": 0.8,
    "q_hi": 0.95,
    "norm": "l2",
    "assign": "adaptive",
    "scope": "tensor",
}


def config(
    merge: str,
    tadrop: Mapping[str, Any] | None = None,
    seed: int = 0,
    chance: bool = False,
    before: Sequence[str] | None = None,
    training_seed: int = 0,
) -> dict[str, Any]:
    """A resolved configuration.

    tadrop: changes to the adaptive default, None is off
    chance: a node takes the seed
    before: the order of what is done before the merge; its row has a sparsifier then
    """
    rule = {"keep": 0.1}
    if chance:
        rule["seed"] = seed
    return {
        "model": {
            "name": "tiny",
            "base": "base.safetensors",
            "training_seed": training_seed,
        },
        "tasks": {"names": ["mnist", "svhn"]},
        "sparsify": rule if chance or before else None,
        "merge": {
            "name": merge,
            "title": TITLES[merge],
            "scale": 0.3,
            "scale_grid": [0.1, 0.3, 0.5],
        },
        "tadrop": None if tadrop is None else ADAPTIVE | dict(tadrop),
        "before": before,
        "seed": seed,
        "select": "fixed",
        "split": "test",
        "limit": None,
    }


def record(
    merge: str,
    values: Sequence[float] = (0.9, 0.7),
    tadrop: Mapping[str, Any] | None = None,
    seed: int = 0,
    chance: bool = False,
    count: int = 100,
    before: Sequence[str] | None = None,
    training_seed: int = 0,
) -> dict[str, Any]:
    """A record as tadrop.app.runs.run.describe makes it, of a run that never was."""
    whole = config(merge, tadrop, seed, chance, before, training_seed)
    tasks = whole["tasks"]["names"]
    return {
        "format": records.FORMAT,
        "key": identity.key(whole),
        "label": whole["merge"]["title"] + ("" if tadrop is None else " + TADrop"),
        "config": identity.settings(whole),
        "protocol": {
            "tasks": "hand-made",
            "split": "test",
            "limit": None,
            "metric": "accuracy",
        },
        "selection": {"rule": "fixed", "scale": 0.3, "split": None, "grid": []},
        "scores": [
            {
                "task": t,
                "split": "test",
                "metric": "accuracy",
                "value": v,
                "count": count,
            }
            for t, v in zip(tasks, values, strict=True)
        ],
        "density": 0.5,
        "parameters": 10,
        "stored_bytes": 40,
        "factors": None,
        "checkpoints": {"base": "0" * 16},
        "data": {f"{t}/test": "f" * 16 for t in tasks},
        "threads": 1,
        "device": "cpu",
        "seconds": {"load": 1.0, "merge": 2.0, "evaluate": 3.0},
        "peak_bytes": 1 << 20,
        "code": {"version": "0", "commit": None, "dirty": None},
        "versions": {},
        "machine": {},
    }


def write(
    folder: Path,
    made: Mapping[str, Any],
    correct: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Writes a record, with per-example values where they are given."""
    scores = [
        Score(
            task,
            "test",
            "accuracy",
            float(np.mean(bits)),
            len(bits),
            torch.from_numpy(np.asarray(bits)),
        )
        for task, bits in (correct or {}).items()
    ]
    return records.write(folder, made, scores=scores)
