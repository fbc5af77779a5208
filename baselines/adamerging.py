"""AdaMerging (arXiv 2310.02575): coefficients per task, or per task and tensor, that
minimise entropy on test inputs.

Test-time adaptation: it sees the inputs it is graded on, without their labels, so its
rows are no data-free rows. theta = theta0 + sum_t clamp(lambda_t, 0, 1) tau_t; every
step takes a batch of every task's inputs, and Adam lowers the summed mean entropy of
the predictions. (The authors add up two batches of 16 where this takes one of 32; Adam
does not see the factor.) Layer-wise means one lambda per tensor of the checkpoint and
task, as in the authors' code. `elected` is AdaMerging++: of the trimmed vectors (the
row's sparsifier), each task keeps the entries that have TIES' elected sign.

The authors hold every task vector in memory. Here the gradient by lambda_t,l is the
inner product of tau_t,l with the ordinary gradient by theta_l, so that the task vectors
are read tensor by tensor, twice a step, and memory is that of training one model.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from baselines import ties
from tadrop.modules.slots import parameters
from tadrop.numerics.ops import rows
from tadrop.protocols import Stream, Workbench
from tadrop.types import TadropError, Taus
from tadrop.vectors.merged import Merged

BETAS = (0.9, 0.999)
View = Callable[
    [Taus], Taus
]  # what is made of a tensor's task vectors before they are added


def elected(stream: Stream) -> View:
    """Each task's entries that have the elected sign, as AdaMerging++ takes them."""
    fallback = ties.survey(stream)

    def view(taus: Taus) -> Taus:
        sign = ties.elect(taus, fallback)
        return torch.where(torch.where(sign > 0, taus > 0, taus < 0), taus, 0)

    return view


def plain(stream: Stream) -> View:
    """The task vectors as they are."""
    return lambda taus: taus


def entropy(logits: Tensor) -> Tensor:
    """The mean over examples of the entropy of the softmax."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean()


def weighted(
    stream: Stream, view: View, coefficients: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """sum_t coefficients[t, l] tau_t,l of every tensor l, one at a time."""
    for name, row in zip(stream.names, coefficients.T, strict=True):
        yield name, torch.tensordot(row, view(stream.taus(name)), dims=1)


def slopes(stream: Stream, view: View, gradients: dict[str, Tensor]) -> Tensor:
    """The gradient by the coefficients, [task, tensor], from the gradients by the
    weights.
    """
    columns = []
    for name in stream.names:
        taus = rows(view(stream.taus(name)))
        columns.append(
            taus @ gradients[name].flatten()
            if name in gradients
            else taus.new_zeros(len(taus))
        )
    return torch.stack(columns, dim=1)


def weight_gradients(
    bench: Workbench, names: tuple[str, ...], batches: dict[str, Any]
) -> dict[str, Tensor]:
    """The gradients of the tasks' summed entropies by the merged tensors, one backward
    pass a task.

    A tensor that is no part of the module (CLIP's text tower) has none.
    """
    places = bench.places(names)
    leaves = parameters(bench.module, places.values())
    totals = {
        name: torch.zeros_like(leaf.requires_grad_()) for name, leaf in leaves.items()
    }
    for task, batch in batches.items():
        bench.equip(task)
        with torch.enable_grad():
            loss = entropy(bench.module(batch))
            found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        for sums, gradient in zip(totals.values(), found, strict=True):
            if gradient is not None:
                sums += gradient
    bench.module.requires_grad_(False)
    return {name: place.of(totals[place.parameter]) for name, place in places.items()}


def adapt(
    merged: Merged,
    stream: Stream,
    bench: Workbench,
    scale: float,
    on_step: Callable[[], None],
    *,
    wise: str,
    split: str,
    seed: int,
    view: Callable[[Stream], View] = plain,
    init: float = 0.3,
    rate: float = 1e-3,
    steps: int = 500,
    size: int = 32,
) -> Merged:
    """The adapted sum of task vectors. wise: task (one coefficient a task) or layer
    (one a task and tensor).
    """
    if wise not in ("task", "layer"):
        raise TadropError(f"wise is {wise!r}; it must be task or layer")
    vectors, tasks, tensors = view(stream), len(stream.tasks), len(stream.names)
    coefficients = torch.full(
        (tasks, 1 if wise == "task" else tensors),
        init,
        device=bench.device,
        requires_grad=True,
    )
    optimizer = torch.optim.Adam([coefficients], rate, BETAS)
    inputs = {
        task: bench.samples(task, split, size, "adamerging", seed)
        for task in stream.tasks
    }
    for _ in range(steps):
        used = coefficients.clamp(0, 1).expand(tasks, tensors)
        bench.load(
            (n, bench.theta0(n) + delta)
            for n, delta in weighted(stream, vectors, used.detach())
        )
        drawn = {task: next(some) for task, some in inputs.items()}
        optimizer.zero_grad()
        used.backward(
            slopes(stream, vectors, weight_gradients(bench, stream.names, drawn))
        )
        optimizer.step()
        on_step()
    final = coefficients.detach().clamp(0, 1).expand(tasks, tensors)
    deltas = {name: delta[None] for name, delta in weighted(stream, vectors, final)}
    return replace(merged, deltas=deltas)
