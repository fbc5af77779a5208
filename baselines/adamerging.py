"""AdaMerging (arXiv 2310.02575): coefficients that minimise entropy on test inputs.

    theta = theta0 + sum_t clamp(lambda_t, 0, 1) tau_t

There is one lambda per task (wise: task), or one per task and tensor of
the checkpoint (wise: layer, as in the authors' code). Every step takes
a batch of every task's inputs, and Adam lowers the sum over tasks of
the predictions' mean entropy.

Data: this is test-time adaptation. It sees the inputs it is graded on,
without their labels, so its rows are no data-free rows.

AdaMerging++ is the view `elected`: of the trimmed vectors (the row's
sparsifier), each task keeps the entries that have TIES' elected sign.

Departures from the authors' code:
- They add up two batches of 16 where this takes one of 32. The losses
  differ by a factor, which Adam does not see.
- They hold every task vector in memory. Here the gradient by lambda_t,l
  is the inner product of tau_t,l with the ordinary gradient by theta_l,
  so that task vectors are read tensor by tensor, twice a step, and
  memory is that of training one model.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tadrop.modules.slots import parameters
from tadrop.numerics.ops import rows
from tadrop.protocols.streams import Stream
from tadrop.protocols.workbench import Workbench
from tadrop.types import TadropError, Taus
from tadrop.vectors.merged import Merged

from . import ties

BETAS = (0.9, 0.999)
View = Callable[[Taus], Taus]  # a tensor's task vectors, as the sum takes them


def elected(stream: Stream) -> View:
    """Each task's entries that have the elected sign, as AdaMerging++ takes them."""
    fallback = ties.survey(stream)

    def view(taus: Taus) -> Taus:
        agree = ties.agreement(taus, ties.elect(taus, fallback))
        return torch.where(agree, taus, 0)

    return view


def plain(stream: Stream) -> View:
    """The task vectors as they are."""
    return lambda taus: taus


def entropy(logits: Tensor) -> Tensor:
    """The mean over examples of the entropy of the softmax."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean()


def weighted(
    stream: Stream,
    view: View,
    coefficients: Tensor,
) -> Iterator[tuple[str, Tensor]]:
    """sum_t coefficients[t, l] tau_t,l of every tensor l, one at a time."""
    for name, column in zip(stream.names, coefficients.T, strict=True):
        yield name, torch.tensordot(column, view(stream.taus(name)), dims=1)


def slopes(stream: Stream, view: View, gradients: Mapping[str, Tensor]) -> Tensor:
    """The gradient by the coefficients, [task, tensor], from that by the weights."""
    columns = []
    for name in stream.names:
        taus = rows(view(stream.taus(name)))
        if name in gradients:
            columns.append(taus @ gradients[name].flatten())
        else:
            columns.append(taus.new_zeros(len(taus)))
    return torch.stack(columns, dim=1)


def weight_gradients(
    bench: Workbench,
    names: tuple[str, ...],
    batches: Mapping[str, Any],
) -> dict[str, Tensor]:
    """The gradients of the tasks' summed entropies by the merged tensors.

    There is one backward pass a task. A tensor that is no part of the
    module (CLIP's text tower) has no gradient.
    """
    slots = bench.slots(names)
    leaves = parameters(bench.module, slots.values())
    sums = {}
    for name, leaf in leaves.items():
        sums[name] = torch.zeros_like(leaf)
        leaf.requires_grad_()
    for task, batch in batches.items():
        bench.equip(task)
        with torch.enable_grad():
            loss = entropy(bench.module(batch))
            gradients = torch.autograd.grad(
                loss, list(leaves.values()), allow_unused=True
            )
        for own_sum, gradient in zip(sums.values(), gradients, strict=True):
            if gradient is not None:
                own_sum += gradient
    bench.module.requires_grad_(False)
    return {name: slot.of(sums[slot.parameter]) for name, slot in slots.items()}


def _moved(
    bench: Workbench, deltas: Iterator[tuple[str, Tensor]]
) -> Iterator[tuple[str, Tensor]]:
    """The base's tensors with these deltas added, one at a time."""
    for name, delta in deltas:
        yield name, bench.theta0(name) + delta


def _summed(stream: Stream, view: View, coefficients: Tensor) -> dict[str, Tensor]:
    """The weighted sums by tensor, as deltas for all tasks, [1, *shape]."""
    deltas = {}
    for name, delta in weighted(stream, view, coefficients):
        deltas[name] = delta[None]
    return deltas


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
    """The adapted sum of task vectors, in the place of the merge.

    wise: task (one coefficient a task) or layer (one a task and tensor)
    size: inputs of each task in a step
    """
    if wise not in ("task", "layer"):
        raise TadropError(f"wise is {wise!r}; it must be task or layer")
    vectors = view(stream)
    shape = len(stream.tasks), len(stream.names)
    columns = 1 if wise == "task" else len(stream.names)
    coefficients = torch.full(
        (len(stream.tasks), columns),
        init,
        device=bench.device,
        requires_grad=True,
    )
    optimizer = torch.optim.Adam([coefficients], rate, BETAS)
    samples = {}
    for task in stream.tasks:
        samples[task] = bench.samples(task, split, size, "adamerging", seed)
    for _ in range(steps):
        used = coefficients.clamp(0, 1).expand(shape)
        deltas = weighted(stream, vectors, used.detach())
        bench.load(_moved(bench, deltas))
        batches = {task: next(inputs) for task, inputs in samples.items()}
        gradients = weight_gradients(bench, stream.names, batches)
        optimizer.zero_grad()
        used.backward(slopes(stream, vectors, gradients))
        optimizer.step()
        on_step()
    final = coefficients.detach().clamp(0, 1).expand(shape)
    return replace(merged, deltas=_summed(stream, vectors, final))
