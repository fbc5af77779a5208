"""What the authors' published code computes, and the same through the suite.

The values lie in the folder golden, whose README says where they come from.

The safetensors file holds small models (weights that float32, float16 or bfloat16 store
exactly, with repeated magnitudes, exact zeros, sums that cancel and odd shapes), what a
method asks for beside weights, and the merged deltas. The JSON file says for each entry
which function of which repository made it, with which settings, how large the error may
be, and which values the rule leaves open.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file
from torch import Tensor

from tadrop.app.places import CONF
from tadrop.app.runs import build
from tadrop.merging.engine import merge
from tadrop.sparsify.chain import sparsified
from tadrop.types import MatrixLayout
from tests.golden import stream_of

FOLDER = Path(__file__).parent / "golden"
LINEAR = MatrixLayout("linear")
LAYOUTS = {
    "a.weight": LINEAR,
    "qkv.weight": MatrixLayout("linear", blocks=3),
    "row.weight": LINEAR,
    "zero.weight": LINEAR,
}
SPLIT = {"fused=split": "+merge.method.fused=split"}


@cache
def tensors():
    """Every tensor of the file, by its whole name."""
    return load_file(FOLDER / "authors_open.safetensors")


@cache
def contents():
    """The JSON file."""
    return json.loads((FOLDER / "authors_open.json").read_text(encoding="utf-8"))


def entries():
    """All entries by name."""
    return contents()["entries"]


def under(prefix):
    """The tensors whose names begin so, by the rest of their names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors().items()
        if name.startswith(prefix)
    }


@dataclass(frozen=True)
class Given:
    """A statistic of every task that an entry hands in: see Statistics."""

    name: str
    kind: str
    tasks: tuple[str, ...]

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor | None:
        parts = []
        for task in self.tasks:
            part = tensors().get(f"given/{self.name}/{task}/{self.kind}/{name}")
            if part is None:
                return None
            parts.append(part)
        statistics = torch.stack(parts)
        if start != 0 or stop is not None:
            return statistics.flatten(1)[:, start:stop]
        return statistics


def tasks_of(entry):
    """The tasks whose models an entry merges, in their order."""
    count = contents()["sets"][entry["set"]]["tasks"]
    return tuple(f"task{index}" for index in entry.get("experts", range(count)))


def stream(entry, order=None):
    """The task vectors of an entry's set, of the tensors that it compares.

    order: of the tasks, where it is another
    """
    inputs = f"in/{entry['set']}"
    base = {}
    for name in entry["shapes"]:
        base[name] = tensors()[f"{inputs}/base/{name}"]
    taus = {}
    for task in order or tasks_of(entry):
        own = {name: tensors()[f"{inputs}/{task}/{name}"] for name in base}
        taus[task] = {name: own[name] - base[name] for name in base}
    return replace(stream_of(taus, base), matrix_layouts=LAYOUTS)


@cache
def config(row, options=()):
    """A row's configuration, composed as a run composes it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = [SPLIT.get(option, option) for option in options]
        return compose("config", [f"merge={row}", *words])


def run(entry, row, options=(), statistics=None):
    """An entry's merge by a row of the suite: {(task, tensor): delta}, scale applied."""
    cfg = config(row, tuple(options))
    vectors = stream(entry)
    rule = build.rule(cfg.sparsify)
    cut = vectors if rule is None else sparsified(rule)(vectors)
    merged = merge(cut, build.part(cfg.merge.method), statistics=statistics)
    deltas = {}
    for task in vectors.tasks:
        for name in vectors.names:
            deltas[task, name] = cfg.merge.scale * merged.delta(task, name)
    return deltas


def expected(key, entry):
    """What the authors' code gives: {(task or "merged", tensor): value}."""
    values = {}
    parts = ["merged"] if entry["result"] == "merged" else tasks_of(entry)
    for part in parts:
        for name, value in under(f"out/{key}/{part}/").items():
            values[part, name] = value
    return values


def determined(key, part, name, like):
    """Which values of a tensor the rule settles."""
    place = f"{part}/{name}" if part != "merged" else name
    is_open = tensors().get(f"undetermined/{key}/{place}")
    if is_open is None:
        return torch.ones_like(like, dtype=torch.bool)
    return is_open == 0


def error(actual, value, settled):
    """The largest difference of settled values, by the tensor's largest value."""
    if not settled.any():
        return 0.0
    actual, value = actual.double()[settled], value.double()[settled]
    largest = float(value.abs().max()) or 1.0
    return float((actual - value).abs().max()) / largest


def errors(key, entry, deltas):
    """The error of each tensor that an entry compares."""
    first = tasks_of(entry)[0]
    differences = {}
    for (part, name), value in expected(key, entry).items():
        actual = deltas[first if part == "merged" else part, name]
        assert actual.shape == value.shape, name
        settled = determined(key, part, name, value)
        differences[part, name] = error(actual, value, settled)
    return differences
