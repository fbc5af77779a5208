"""Tasks come one by one: each is merged when it comes, and those seen are evaluated.

Of the task vectors before, nothing is kept but the method's state (its `arriving`), which
lies in the cache between two arrivals: a run that is stopped goes on behind the last one.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tadrop.app.console import Progress
from tadrop.app.runs import build
from tadrop.app.runs.build import resolved
from tadrop.app.runs.prepared import Prepared
from tadrop.evaluation.bench import evaluate
from tadrop.merging.method import Method
from tadrop.numerics.seeds import generator
from tadrop.protocols.streams import Stream
from tadrop.results import identity
from tadrop.storage.atomic import caching
from tadrop.storage.files import write_tensors
from tadrop.types import Masked, MatrixLayout, Score, TadropError
from tadrop.vectors.arriving import Arriving, State
from tadrop.vectors.merged import Merged, pack

ALL = "arrival"  # the word in records


@dataclass
class Arrivals:
    """What has arrived so far.

    order:  all tasks in the order of their arrival
    states: what is kept of each tensor
    steps:  after each arrival the value of every task seen, by task
    density, entries: how many entries of the vectors were not zero, and of how many
    """

    order: Sequence[str]
    states: dict[str, State] = field(default_factory=dict)
    steps: list[dict[str, float]] = field(default_factory=list)
    nonzero: int = 0
    entries: int = 0

    def state_bytes(self) -> int:
        """Bytes of what is kept."""
        size = 0
        for state in self.states.values():
            size += sum(part.numel() * part.element_size() for part in state.values())
        return size


def order_of(tasks: Sequence[str], seed: int) -> list[str]:
    """The tasks in the order of arrival, which does not depend on how they are listed."""
    return sorted(tasks, key=lambda task: generator("arrival", seed, task).random())


def check(cfg: Any) -> None:
    """Raises TadropError for a row, or settings, with which tasks cannot come one by one."""
    if not cfg.arrival:
        return
    if cfg.merge.get("arriving") is None:
        raise TadropError(
            f"arrival=true: merge={cfg.merge.name} needs all task vectors at once; rows "
            "that take them one by one say `arriving` (+board=arrival has them)"
        )
    if cfg.select != "fixed":
        raise TadropError(
            f"arrival=true with select={cfg.select}: a scale is chosen where all tasks "
            "are there; say select=fixed"
        )
    if not cfg.evaluate:
        raise TadropError("arrival=true needs an evaluation: evaluate=true")
    build.part(cfg.merge.arriving)


def arrived(prepared: Prepared, progress: Progress) -> tuple[Merged, Arrivals]:
    """The merge after the last arrival, and what was measured after those before it."""
    cfg, stream = prepared.cfg, prepared.stream
    bench = prepared.evaluated()
    arriving: Arriving = build.part(cfg.merge.arriving)
    method: Method = build.part(cfg.merge.method)
    order = order_of(stream.tasks, cfg.seed)
    file = _file(prepared)
    arrivals = _read(file, order)
    tick = progress.bar("arrivals", len(order))
    for _ in arrivals.steps:
        tick()
    for count in range(len(arrivals.steps) + 1, len(order) + 1):
        _take(stream, arriving, arrivals, order[count - 1])
        if count < len(order):
            merged = _merged(stream, method, arriving, arrivals, count)
            seen = order[:count]
            scores = evaluate(bench, merged, float(cfg.merge.scale), cfg.split, seen)
            arrivals.steps.append(_values(scores))
            _write(file, arrivals)
        tick()
    return _merged(stream, method, arriving, arrivals, len(order)), arrivals


def ended(prepared: Prepared) -> None:
    """Forgets what was kept to go on with, when the record is written."""
    _file(prepared).unlink(missing_ok=True)


def told(arrivals: Arrivals, scores: Sequence[Score]) -> dict[str, Any]:
    """What a record says of the arrivals. scores: after the last.

    backward: the mean over tasks of the value after the last arrival less that just after
    the task's own; the last task, of which both are the same, is left out
    """
    steps = [*arrivals.steps, _values(scores)]
    last, transfers, averages = steps[-1], [], []
    for task, step in zip(arrivals.order, steps, strict=True):
        averages.append(sum(step.values()) / len(step))
        transfers.append(last[task] - step[task])
    count = max(len(transfers) - 1, 1)
    return {
        "order": list(arrivals.order),
        "steps": steps,
        "averages": averages,
        "backward": sum(transfers[:-1]) / count,
        "state_bytes": arrivals.state_bytes(),
    }


def _values(scores: Sequence[Score]) -> dict[str, float]:
    return {score.task: score.value for score in scores}


def _take(stream: Stream, arriving: Arriving, arrivals: Arrivals, task: str) -> None:
    """Puts one task's vector into the states, tensor by tensor."""
    index = stream.tasks.index(task)
    for name in stream.names:
        pieces = list(stream.vector(index, name).pieces())
        tau = torch.cat(pieces).view(stream.shapes[name])
        arrivals.nonzero += int(tau.count_nonzero())
        arrivals.entries += tau.numel()
        layout = stream.matrix_layouts.get(name, MatrixLayout())
        state = arrivals.states.get(name, {})
        arrivals.states[name] = arriving.arrive(state, tau, layout)


def _merged(
    stream: Stream,
    method: Method,
    arriving: Arriving,
    arrivals: Arrivals,
    count: int,
) -> Merged:
    """What the method makes of the states of so many tasks."""
    survey = arriving.survey(arrivals.states.values())
    deltas: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    tallies: list[Tensor] = []
    for name, state in arrivals.states.items():
        result = arriving.merged(state, survey)
        tally = arriving.tally(state, result)
        if tally is not None:
            tallies.append(tally)
        if isinstance(result, Masked):
            deltas[name], masks[name] = result.shared[None], pack(result.masks)
        else:
            assert isinstance(result, Tensor), "no method here has thin factors"
            deltas[name] = result
    factors = None
    if method.rescale is not None:
        sizes = torch.tensor([prod(stream.shapes[name]) for name in arrivals.states])
        factors = method.rescale(torch.stack(tallies), sizes)
    density = arrivals.nonzero / max(arrivals.entries, 1)
    return Merged(tuple(arrivals.order[:count]), deltas, masks, factors, density)


# --- between two arrivals


def _file(prepared: Prepared) -> Path:
    """Where the states lie, under a name made of everything they depend on."""
    cfg, bench = prepared.cfg, prepared.evaluated()
    words = [identity.key(resolved(cfg)), bench.base.fingerprint(), torch.__version__]
    for task, expert in bench.experts.items():
        words += [expert.fingerprint(), bench.tasks.fingerprint(task, cfg.split)]
    key = hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
    return caching.place(Path(cfg.paths.cache) / "arrivals" / f"{key}.safetensors")


def _write(file: Path, arrivals: Arrivals) -> None:
    tensors: dict[str, Tensor] = {}
    for name, state in arrivals.states.items():
        for part, tensor in state.items():
            tensors[f"{part}/{name}"] = tensor.cpu().contiguous()
    note = {
        "order": list(arrivals.order),
        "steps": arrivals.steps,
        "nonzero": arrivals.nonzero,
        "entries": arrivals.entries,
        "sum": _sum(tensors),
    }
    write_tensors(file, tensors, {ALL: json.dumps(note)})


def _read(file: Path, order: Sequence[str]) -> Arrivals:
    """The arrivals so far; none where nothing was left, or nothing that is whole."""
    arrivals = Arrivals(order)
    if not file.exists():
        return arrivals
    with suppress(SafetensorError, OSError, ValueError, KeyError, TypeError):
        with safe_open(file, framework="pt") as opened:
            note: Mapping[str, Any] = json.loads((opened.metadata() or {})[ALL])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        states = dict(_states(tensors))
        if note["order"] == list(order) and note["sum"] == _sum(tensors):
            counts = note["nonzero"], note["entries"]
            return Arrivals(order, states, note["steps"], *counts)
    return arrivals


def _sum(tensors: Mapping[str, Tensor]) -> str:
    """The check sum of what is kept, by which damage is seen."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _states(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, State]]:
    """The state of each tensor, in their order."""
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts.setdefault(name, {})[part] = tensor
    yield from parts.items()
