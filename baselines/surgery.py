"""Representation Surgery (arXiv 2402.02705): an adapter per task pulls a merged model's
features to the task's own.

Test-time adaptation: the adapters are trained on the inputs they are graded on, without
labels, and need the individual models. z' = z - up(relu(down(z))) on the features that
the head reads, rank 16, L1 distance to the individual model's features, Adam. Comes
after any merge: `refine` it onto another row. Encoders are frozen while the adapters
are trained, so features are computed once and not at every step as in the authors'
code: the same numbers, far fewer passes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.numerics.seeds import generator
from tadrop.protocols import Stream, Workbench
from tadrop.vectors.merged import Merged


@dataclass(frozen=True)
class Adapters:
    """Per task: down [rank, width] and up [width, rank], applied to what reaches the
    module called `head`.
    """

    head: str
    weights: Mapping[str, tuple[Tensor, Tensor]]

    @contextmanager
    def attach(self, module: nn.Module, task: str) -> Iterator[None]:
        """Corrects what the head is handed while the block lasts."""
        down, up = self.weights[task]
        hook = module.get_submodule(self.head).register_forward_pre_hook(
            lambda head, args: (corrected(args[0], down, up), *args[1:])
        )
        try:
            yield
        finally:
            hook.remove()

    def stored_bytes(self) -> int:
        return sum(
            t.numel() * t.element_size() for pair in self.weights.values() for t in pair
        )


def corrected(features: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """z - up(relu(down(z)))."""
    return features - F.linear(F.relu(F.linear(features, down)), up)


def initial(width: int, rank: int, *words: object) -> tuple[Tensor, Tensor]:
    """Uniform in +-1 / sqrt(fan in), torch's own for linear layers, seeded by words."""
    rng = generator("surgery", *words)
    shapes = ((rank, width), (width, rank))
    return tuple(
        torch.from_numpy(rng.uniform(-1, 1, s).astype("float32")) / s[1] ** 0.5
        for s in shapes
    )


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
    weights = [
        w.to(merged.device).requires_grad_()
        for w in initial(merged.shape[1], rank, *words)
    ]
    optimizer = torch.optim.Adam(weights, rate)
    rng, order = generator("surgery", "order", *words), torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if not len(order):
            order = torch.from_numpy(rng.permutation(len(merged)))
        batch, order = order[:size].to(merged.device), order[size:]
        with torch.enable_grad():
            loss = F.l1_loss(corrected(merged[batch], *weights), own[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tuple(w.detach() for w in weights)


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
    """The merge with an adapter per task."""
    weights = {}
    for task in stream.tasks:
        bench.load(
            (name, bench.theta0(name) + scale * merged.delta(task, name))
            for name in stream.names
        )
        ours = bench.features(task, split)
        bench.load(bench.expert(task, stream.names))
        own = bench.features(task, split)
        weights[task] = train(ours, own, rank, rate, steps, size, task, seed)
        on_step()
    return replace(merged, attachment=Adapters(bench.head, weights))
