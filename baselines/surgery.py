"""Representation Surgery (arXiv 2402.02705): an adapter per task corrects features.

z' = z - up(relu(down(z))) on the features z that the head reads, with
rank 16. Adam lowers the L1 distance to the features of the task's
individual model. Surgery comes after any merge: `refine` it onto
another row.

Data: this is test-time adaptation. The adapters are trained on the
inputs they are graded on, without labels, and need the individual
models.

Departure: encoders are frozen while the adapters are trained, so
features are computed once, and not at every step as in the authors'
code. The numbers are the same.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.numerics.seeds import generator
from tadrop.protocols.streams import Stream
from tadrop.protocols.workbench import Workbench
from tadrop.vectors.merged import Merged


@dataclass(frozen=True)
class Adapters:
    """Per task: down [rank, width] and up [width, rank].

    head: the name of the submodule whose input they correct
    """

    head: str
    weights: Mapping[str, tuple[Tensor, Tensor]]

    @contextmanager
    def attach(self, module: nn.Module, task: str) -> Iterator[None]:
        """Corrects what the head is handed while the block lasts."""
        down, up = self.weights[task]

        def correct(head: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            features, *others = args
            return corrected(features, down, up), *others

        hook = module.get_submodule(self.head).register_forward_pre_hook(correct)
        try:
            yield
        finally:
            hook.remove()

    def stored_bytes(self) -> int:
        """The bytes of the adapters of all tasks."""
        return sum(down.nbytes + up.nbytes for down, up in self.weights.values())


def corrected(features: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """z - up(relu(down(z)))."""
    return features - F.linear(F.relu(F.linear(features, down)), up)


def _initial(width: int, rank: int, *words: object) -> tuple[Tensor, Tensor]:
    """down and up, uniform in +-1 / sqrt(fan in) as torch's own linear layers.

    They are seeded by the words.
    """
    rng = generator("surgery", *words)
    down = rng.uniform(-1, 1, (rank, width)).astype("float32")
    up = rng.uniform(-1, 1, (width, rank)).astype("float32")
    return torch.from_numpy(down) / width**0.5, torch.from_numpy(up) / rank**0.5


def _batches(count: int, size: int, *words: object) -> Iterator[Tensor]:
    """Endless indices of batches of `count` examples, shuffled anew in every epoch."""
    rng = generator("surgery", "order", *words)
    while True:
        yield from torch.from_numpy(rng.permutation(count)).split(size)


def train(
    merged: Tensor,
    own: Tensor,
    rank: int,
    rate: float,
    steps: int,
    size: int,
    *words: object,
) -> tuple[Tensor, Tensor]:
    """The adapter that takes merged features [n, width] to the task's own, in L1."""
    down, up = _initial(merged.shape[1], rank, *words)
    down = down.to(merged.device).requires_grad_()
    up = up.to(merged.device).requires_grad_()
    optimizer = torch.optim.Adam([down, up], rate)
    batches = _batches(len(merged), size, *words)
    for _ in range(steps):
        batch = next(batches).to(merged.device)
        with torch.enable_grad():
            loss = F.l1_loss(corrected(merged[batch], down, up), own[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return down.detach(), up.detach()


def _merged_weights(
    merged: Merged,
    stream: Stream,
    bench: Workbench,
    task: str,
    scale: float,
) -> Iterator[tuple[str, Tensor]]:
    """The merged model's weights for a task, one tensor at a time."""
    for name in stream.names:
        delta = merged.delta(task, name)
        yield name, bench.theta0(name) + scale * delta


def adapt(
    merged: Merged,
    stream: Stream,
    bench: Workbench,
    scale: float,
    on_step: Callable[[], None],
    *,
    split: str,
    seed: int,
    rank: int = 16,
    rate: float = 1e-3,
    steps: int = 500,
    size: int = 16,
) -> Merged:
    """The merge with an adapter per task. on_step is told of each task."""
    weights = {}
    for task in stream.tasks:
        bench.load(_merged_weights(merged, stream, bench, task, scale))
        features = bench.features(task, split)
        bench.load(bench.expert(task, stream.names))
        own = bench.features(task, split)
        weights[task] = train(features, own, rank, rate, steps, size, task, seed)
        on_step()
    return replace(merged, attachment=Adapters(bench.head(), weights))
