"""Twin-Merging (arXiv 2406.15479): a shared model, a compressed exclusive vector a
task, and a router that mixes them.

Shared: theta* = theta0 + scale * sum of task vectors (the row's merge). Exclusive: v_t
= theta_t - theta*, of which matrices keep the fraction `keep` of their singular
triplets (1 - mask rate; at least one, where the authors' int() can leave none) and all
else stays whole, as the authors' compression passes over it. The router reads the mean
features of the shared model; every input is then run on weights of its own, theta* +
sum_t softmax(router)_t v_t.
Departures: TADrop sparsifies the task vectors, not the exclusive ones, and the rank
rule stays.

Inputs are run several at a time, each on its own weights. These exist for what is kept
whole; what a thin matrix adds to a layer's output is computed from its factors, sum_t
w_t left_t (right_t x): no input has a matrix of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from tadrop.modules import batches as batching
from tadrop.modules.slots import parameters
from tadrop.modules.taps import Product, refuse_unused, tapped
from tadrop.numerics.linalg import svd
from tadrop.numerics.seeds import generator
from tadrop.protocols import Stream, Workbench
from tadrop.types import LowRank, Slot, TadropError, Taus, check_keep
from tadrop.vectors.merged import Merged

BUDGET = (
    1 << 25
)  # entries of weights that exist at once while inputs run on weights of their own


def added(product: Product, vectors: LowRank, mix: Tensor) -> Tensor:
    """What a layer's output [..., out] gains from the mix [task] of its thin vectors,
    [task, out, in] as factors.
    """
    left, right = (vectors.right.mT, vectors.left.mT) if product.transposed else vectors
    hidden = (product.inputs @ right.flatten(0, 1).T).unflatten(
        -1, right.shape[:2]
    ) * mix.unsqueeze(-1)
    return hidden.flatten(-2) @ left.mT.flatten(0, 1)


@dataclass(frozen=True)
class Mixture:
    """The exclusive vectors by tensor, whole [task, *shape] or as thin factors, and the
    router over tasks.

    linear: the tensors that the module multiplies its inputs with and uses in no other
    way
    """

    head: str
    exclusive: Mapping[str, Tensor | LowRank]
    router: nn.Module
    places: Mapping[str, Slot]
    linear: frozenset[str]

    @contextmanager
    def attach(self, module: nn.Module, task: str) -> Iterator[None]:
        """Every input runs through the shared model, is routed, and runs again on its
        own weights.
        """
        features: list[Tensor] = []
        first_pass = True

        def read(head: nn.Module, args: tuple[Tensor, ...]) -> None:
            if first_pass:
                features[:] = [args[0]]

        def again(whole: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            nonlocal first_pass
            if not first_pass:
                return output
            first_pass = False
            try:
                return self.run(whole, args[0], self.router(features[0]).softmax(-1))
            finally:
                first_pass = True

        hooks = [
            module.get_submodule(self.head).register_forward_pre_hook(read),
            module.register_forward_hook(again),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def run(self, module: nn.Module, inputs: Any, weights: Tensor) -> Tensor:
        """The outputs of inputs [n, ...], each on theta* + sum_t weights[n, t] v_t."""
        whole = {
            p.parameter for n, p in self.places.items() if not self._is_factored(n)
        }
        factored = {n: p for n, p in self.places.items() if p.parameter not in whole}
        owned = {n: p for n, p in self.places.items() if p.parameter in whole}
        shared = parameters(module, owned.values())
        used = set()

        def alone(own: dict[str, Tensor], mix: Tensor, one: Any) -> Tensor:
            def visit(product: Product, output: Tensor) -> Tensor:
                used.add(product.weight)
                return output + added(product, self.exclusive[product.weight], mix)

            with tapped(module, factored, visit):
                return functional_call(
                    module, own, (batching.each(lambda x: x[None], one),)
                )[0]

        size = max(BUDGET // max(sum(p.numel() for p in shared.values()), 1), 1)
        outputs = []
        with sdpa_kernel(SDPBackend.MATH):  # others cannot be batched over weights
            for some, mix in zip(
                batching.split(inputs, size), weights.split(size), strict=True
            ):
                own = {
                    n: p.expand(len(mix), *p.shape).clone() for n, p in shared.items()
                }
                for name, place in owned.items():
                    place.of(own[place.parameter]).add_(
                        torch.tensordot(mix, dense(self.exclusive[name]), dims=1)
                    )
                outputs.append(vmap(alone)(own, mix, some))
        refuse_unused(factored.keys() - used)
        return torch.cat(outputs)

    def _is_factored(self, name: str) -> bool:
        return name in self.linear and isinstance(self.exclusive[name], LowRank)

    def stored_bytes(self) -> int:
        thin = [
            t
            for v in self.exclusive.values()
            for t in (v if isinstance(v, LowRank) else (v,))
        ]
        return sum(
            t.numel() * t.element_size()
            for t in (*thin, *self.router.state_dict().values())
        )


def dense(exclusive: Tensor | LowRank) -> Tensor:
    """[task, *shape]."""
    return (
        exclusive.left @ exclusive.right
        if isinstance(exclusive, LowRank)
        else exclusive
    )


def compress(vectors: Taus, keep: float) -> Tensor | LowRank:
    """The leading singular triplets of matrices [task, m, n]; whole where factors would
    be no smaller.
    """
    m, n = vectors.shape[1:]
    kept = svd(vectors).first(max(int(keep * min(m, n)), 1))
    if kept.values.shape[-1] * (m + n) >= m * n:
        return kept.matrix().to(vectors)
    return LowRank(
        (kept.left * kept.values.unsqueeze(-2)).to(vectors), kept.right.to(vectors)
    )


def make_router(width: int, tasks: int) -> nn.Sequential:
    """width -> 2 width -> 2 width -> tasks, with batch norm and dropout 0.5."""
    hidden = 2 * width
    first = (
        nn.Linear(width, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
    )
    second = (
        nn.Linear(hidden, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
    )
    return nn.Sequential(*first, *second, nn.Linear(hidden, tasks))


def train_router(
    features: Tensor,
    labels: Tensor,
    tasks: int,
    epochs: int,
    rate: float,
    size: int,
    seed: int,
) -> nn.Module:
    """Learns the task of a feature [example, width] by cross-entropy with Adam; the
    same bits for the same seed.
    """
    rng = generator("twin", "router", seed)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(int(rng.integers(2**31)))
        router = make_router(features.shape[1], tasks).to(features.device).train()
        optimizer = torch.optim.Adam(router.parameters(), rate)
        for _ in range(epochs):
            order = torch.from_numpy(rng.permutation(len(features))).to(features.device)
            for batch in order.split(size):
                if len(batch) > 1:  # batch norm needs two
                    loss = F.cross_entropy(router(features[batch]), labels[batch])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
    return router.eval().requires_grad_(False)


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
) -> Merged:
    """The shared model with exclusive vectors and a router."""
    check_keep(keep)
    if not merged.is_shared:
        raise TadropError(
            "Twin-Merging needs one shared model; choose a merge that gives every task the same weights"
        )
    exclusive = {}
    for name in stream.names:
        vectors = stream.taus(name) - scale * merged.delta(stream.tasks[0], name)
        exclusive[name] = compress(vectors, keep) if name in stream.layouts else vectors
        on_step()
    bench.load(
        (n, bench.theta0(n) + scale * merged.delta(stream.tasks[0], n))
        for n in stream.names
    )
    seen = [
        bench.features(task, split, examples, "twin", seed) for task in stream.tasks
    ]
    labels = torch.cat(
        [
            torch.full((len(some),), at, device=bench.device)
            for at, some in enumerate(seen)
        ]
    )
    router = train_router(torch.cat(seen), labels, len(seen), epochs, rate, size, seed)
    linear = frozenset(
        name for name, layout in stream.layouts.items() if layout.kind == "linear"
    )
    mixture = Mixture(bench.head, exclusive, router, bench.places(stream.names), linear)
    return replace(merged, attachment=mixture)
