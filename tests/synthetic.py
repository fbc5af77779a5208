"""Records of whole boards with made-up numbers: what tables, figures and the report
are tested on.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tadrop.app.boards.board import Board
from tadrop.numerics.seeds import generator
from tadrop.results import identity, record
from tadrop.results.identity import label
from tadrop.vectors.names import numel
from tests import records as hand

SHAPES = {
    f"blocks.{i}.{kind}.weight": (8, 8 * (1 + j))
    for i in range(3)
    for j, kind in enumerate(("qkv", "proj", "fc1"))
}
SHAPES |= {"stem.weight": (4, 9), "position": (16,)}


def fill(
    folder: Path,
    board: str,
    extra: Sequence[str] = (),
    count: int = 200,
    skip: int = 0,
) -> list[str]:
    """Writes a record, with per-example and per-tensor files, for every run of a
    board; returns the keys.

    skip: every skip-th run is left out
    """
    keys: list[str] = []
    for run in Board(board, tuple(extra)).runs():
        key = identity.key(run.config)
        if key not in keys:
            keys.append(key)
            if not skip or len(keys) % skip:
                write(folder, run.config, count)
    return keys


def write(folder: Path, config: dict, count: int = 200) -> None:
    """A record of one configuration, with its per-example and per-tensor files."""
    key, tasks = identity.key(config), config["tasks"]["names"]
    rng = generator("synthetic", key)
    level = (
        0.6
        + 0.3 * generator("level", config["merge"]["name"]).random()
        + 0.03 * (config["tadrop"] is not None)
    )
    bits = {
        task: rng.random(count) < min(level - 0.002 * i, 0.99)
        for i, task in enumerate(tasks)
    }
    made = hand.record("ties") | {
        "key": key,
        "label": label(config),
        "config": identity.settings(config),
    }
    made |= {"data": {f"{task}/{config['split']}": "f" * 16 for task in tasks}}
    if config["select"] == "grid":
        grid = [
            [scale, float(level - 0.3 * abs(scale - 0.4) ** 2)]
            for scale in config["merge"]["scale_grid"]
        ]
        best = max(grid, key=lambda point: point[1])[0]
        made |= {
            "selection": {
                "rule": "grid",
                "scale": best,
                "split": "validation",
                "grid": grid,
            }
        }
    score = {"split": config["split"], "metric": "accuracy", "count": count}
    made |= {
        "scores": [
            score | {"task": task, "value": float(b.mean())} for task, b in bits.items()
        ]
    }
    hand.write(folder, made, bits)
    if config["tadrop"] is not None:
        record.write(folder, made, _tensors(tasks, rng))
        hand.write(folder, made, bits)


def _tensors(tasks: Sequence[str], rng: np.random.Generator) -> list[dict]:
    """Per-tensor rows as runner.tensor_rows makes them."""
    rows = []
    for task in tasks:
        for name, shape in SHAPES.items():
            ratio = float(rng.uniform(0.3, 0.7))
            rows.append(
                {
                    "task": task,
                    "tensor": name,
                    "size": numel(shape),
                    "ratio": ratio,
                    "sparsity": ratio,
                }
            )
            rows[-1]["scale"] = 1 + ratio
    return rows
