"""Twin-Merging (arXiv 2406.15479): a shared model, exclusive vectors, and a router.

- Shared: theta* = theta0 + scale * the sum of task vectors, which is
  the row's merge.
- Exclusive: v_t = theta_t - theta*. Of a matrix the fraction `keep` of
  its singular triplets is kept (1 - mask rate). All else stays whole,
  as the authors' compression passes over it.
- Tensors with "bias" in their names are left out of both and stay as in
  the base, as in the authors' code for language models. With
  `biases: merged` they are treated like other tensors.
- Router: it reads the mean features of the shared model. Every input is
  then run on weights of its own, theta* + sum_t softmax(router)_t v_t.

No task id is needed. Data: training inputs of every task, for the
router, which learns whose they are.

Departures from the authors' code:
- At least one triplet is kept, where their int() can leave none.
- TADrop sparsifies the task vectors and not the exclusive ones, and the
  rank rule stays.

Inputs are run several at a time, each on its own weights. Such weights
exist for what is kept whole. What a thin matrix adds to a layer's
output is computed from its factors, sum_t w_t left_t (right_t x), so no
input has a matrix of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tadrop.modules import batches as batching
from tadrop.modules.slots import parameters
from tadrop.modules.taps import Product, refuse_unused, tapped
from tadrop.numerics.linalg import svd
from tadrop.protocols.streams import Stream
from tadrop.protocols.workbench import Workbench
from tadrop.types import LowRank, Slot, TadropError, Taus, check_keep
from tadrop.vectors.merged import Merged

from . import twin_router, twin_shared

# Entries of weights that exist at once while inputs run on weights of their own.
BUDGET = 1 << 25

Exclusive = Tensor | LowRank  # [task, *shape], whole or as thin factors


def compress(vectors: Taus, keep: float) -> Exclusive:
    """The leading singular triplets of matrices [task, m, n].

    They are multiplied out where factors would be no smaller than the
    matrices.
    """
    m, n = vectors.shape[1:]
    kept = svd(vectors, max(int(keep * min(m, n)), 1))
    rank = kept.values.shape[-1]
    if rank * (m + n) >= m * n:
        return kept.matrix().to(vectors)
    left = kept.left * kept.values.unsqueeze(-2)
    return LowRank(left.to(vectors), kept.right.to(vectors))


def dense(exclusive: Exclusive) -> Tensor:
    """Exclusive vectors multiplied out, [task, *shape]."""
    if isinstance(exclusive, LowRank):
        return exclusive.left @ exclusive.right
    return exclusive


def added(product: Product, vectors: LowRank, mix: Tensor) -> Tensor:
    """What a layer's output [..., out] gains from a mix of its thin vectors.

    vectors: [task, out, in] as factors
    mix:     the weight of each task, [task]
    """
    left, right = vectors
    if product.transposed:
        left, right = vectors.right.mT, vectors.left.mT
    hidden = product.inputs @ right.flatten(0, 1).T
    mixed = hidden.unflatten(-1, right.shape[:2]) * mix.unsqueeze(-1)
    return mixed.flatten(-2) @ left.mT.flatten(0, 1)


def own_weights(
    shared: Mapping[str, Tensor],
    slots: Mapping[str, Slot],
    exclusive: Mapping[str, Exclusive],
    mixes: Tensor,
) -> dict[str, Tensor]:
    """theta* + sum_t mixes[n, t] v_t for each input n, by parameter.

    shared: theta*, by parameter
    slots:  the tensors that lie in these parameters
    """
    own = {}
    for name, weight in shared.items():
        own[name] = weight.expand(len(mixes), *weight.shape).clone()
    for name, slot in slots.items():
        growth = torch.tensordot(mixes, dense(exclusive[name]), dims=1)
        slot.of(own[slot.parameter]).add_(growth)
    return own


@dataclass(frozen=True)
class Mixture:
    """The exclusive vectors by tensor, and the router over tasks.

    head:   the name of the submodule whose input the router reads
    slots:  where the tensors lie in the module
    linear: the tensors that the module multiplies its inputs with, and
            uses in no other way
    """

    head: str
    exclusive: Mapping[str, Exclusive]
    router: nn.Module
    slots: Mapping[str, Slot]
    linear: frozenset[str]

    @contextmanager
    def attach(self, module: nn.Module, task: str) -> Iterator[None]:
        """Every input runs through the shared model, is routed, and runs again.

        The second time it runs on its own weights.
        """
        features: list[Tensor] = []
        first_pass = True

        def read(head: nn.Module, args: tuple[Tensor, ...]) -> None:
            if first_pass:
                features[:] = [args[0]]

        def again(whole: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            nonlocal first_pass
            if not first_pass:
                return output
            first_pass = False
            try:
                mixes = self.router(features[0]).softmax(-1)
                return self.run(whole, args[0], mixes)
            finally:
                first_pass = True

        head = module.get_submodule(self.head)
        reading = head.register_forward_pre_hook(read)
        running = module.register_forward_hook(again)
        try:
            yield
        finally:
            reading.remove()
            running.remove()

    def run(self, module: nn.Module, inputs: Any, mixes: Tensor) -> Tensor:
        """The outputs of inputs [n, ...], each on theta* + sum_t mixes[n, t] v_t."""
        factored = self._factored()
        tapped_slots, owned_slots = {}, {}
        for name, slot in self.slots.items():
            slots = tapped_slots if name in factored else owned_slots
            slots[name] = slot
        shared = parameters(module, owned_slots.values())
        used = set()

        def run_one(own: dict[str, Tensor], mix: Tensor, example: Any) -> Tensor:
            def visit(product: Product, output: Tensor) -> Tensor:
                used.add(product.weight)
                return output + added(product, factored[product.weight], mix)

            batch = batching.mapped(lambda tensor: tensor[None], example)
            with tapped(module, tapped_slots, visit):
                return functional_call(module, own, (batch,))[0]

        entries = sum(weight.numel() for weight in shared.values())
        size = max(BUDGET // max(entries, 1), 1)
        parts = zip(batching.split(inputs, size), mixes.split(size), strict=True)
        outputs = []
        with sdpa_kernel(SDPBackend.MATH):  # others cannot be batched over weights
            for examples, mix in parts:
                own = own_weights(shared, owned_slots, self.exclusive, mix)
                outputs.append(vmap(run_one)(own, mix, examples))
        refuse_unused(factored.keys() - used)
        return torch.cat(outputs)

    def _factored(self) -> dict[str, LowRank]:
        """The thin tensors that are never multiplied out.

        A thin tensor that shares its parameter with one of another kind
        is not among them: the parameter exists for every input anyway.
        """
        thin, whole = {}, set()
        for name, slot in self.slots.items():
            vectors = self.exclusive[name]
            if name in self.linear and isinstance(vectors, LowRank):
                thin[name] = vectors
            else:
                whole.add(slot.parameter)
        for name in list(thin):
            if self.slots[name].parameter in whole:
                del thin[name]
        return thin

    def stored_bytes(self) -> int:
        """The bytes of the exclusive vectors and of the router."""
        tensors = list(self.router.state_dict().values())
        for vectors in self.exclusive.values():
            tensors += vectors if isinstance(vectors, LowRank) else (vectors,)
        return sum(tensor.nbytes for tensor in tensors)


def _exclusive(stream: Stream, name: str, shared: Tensor, keep: float) -> Exclusive:
    """One tensor's exclusive vectors. shared: the shared model's delta, scaled."""
    vectors = stream.taus(name) - shared
    return compress(vectors, keep) if name in stream.matrix_layouts else vectors


def _linear(stream: Stream) -> frozenset[str]:
    """The weights of linear layers."""
    layouts = stream.matrix_layouts.items()
    return frozenset(name for name, layout in layouts if layout.kind == "linear")


def build(
    merged: Merged,
    stream: Stream,
    bench: Workbench,
    scale: float,
    on_step: Callable[[], None],
    *,
    split: str,
    seed: int,
    keep: float = 0.1,
    examples: int = 3000,
    epochs: int = 50,
    rate: float = 5e-4,
    size: int = 1024,
    biases: str = "pretrained",
) -> Merged:
    """The shared model with exclusive vectors and a router.

    biases:             stay pretrained, or are merged
    examples:           inputs of each task that the router is trained
                        on, at most
    epochs, rate, size: of the router's training
    """
    check_keep(keep)
    if biases not in ("pretrained", "merged"):
        raise TadropError(f"biases is {biases!r}; it must be pretrained or merged")
    if not merged.is_shared:
        raise TadropError(
            "Twin-Merging needs one shared model; "
            "choose a merge that gives every task the same weights"
        )
    if biases == "pretrained":
        merged = twin_shared.without_biases(merged)
    exclusive = {}
    for name in stream.names:
        if biases == "merged" or not twin_shared.is_bias(name):
            shared = scale * merged.delta(stream.tasks[0], name)
            exclusive[name] = _exclusive(stream, name, shared, keep)
        on_step()
    bench.load(twin_shared.weights(merged, stream, bench, scale))
    features, labels = twin_shared.labelled_features(
        stream, bench, split, examples, seed
    )
    tasks = len(stream.tasks)
    router = twin_router.train(features, labels, tasks, epochs, rate, size, seed)
    slots = bench.slots(tuple(exclusive))
    mixture = Mixture(bench.head(), exclusive, router, slots, _linear(stream))
    return replace(merged, attachment=mixture)
