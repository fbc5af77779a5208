"""SMILE (arXiv 2408.10174): low-rank experts at every linear layer, chosen by token.

Expert t of a layer is the truncated singular value decomposition of its
task vector, with the whole bias delta. The router scores a token x by
|V_t[:gate] x|_2, takes the softmax over tasks, keeps the `active`
largest and renormalises. No task id is needed, and no data are seen.

Whatever is no linear layer stays pretrained (the authors' default), and
so does a layer that no task changed. `keep` is the fraction of the
singular triplets kept: the authors' k = 128 of 768 is 1/6, and 1 is
their k = -1, the dense delta. Which tensors are linear layers is said
by the backbone; biases are found by torch's rule for names.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tadrop.modules.taps import Product, refuse_unused, tapped
from tadrop.numerics.linalg import svd
from tadrop.protocols.streams import Stream
from tadrop.protocols.workbench import Workbench
from tadrop.types import Slot, TadropError, check_keep
from tadrop.vectors.merged import Merged


@dataclass(frozen=True)
class Layer:
    """One layer's experts.

    down:   [task, rank, in]
    up:     [task, out, rank]
    router: [task, gate, in]
    bias:   [task, out], or None; bias_name is the tensor it is the
            delta of
    """

    down: Tensor
    up: Tensor
    router: Tensor
    bias_name: str | None
    bias: Tensor | None

    def delta(self, x: Tensor, active: int) -> Tensor:
        """What the chosen experts add to the output for inputs [..., in].

        An expert is run on the tokens that chose it, and on no others.
        """
        tokens = x.flatten(0, -2)
        weights = route(x, self.router, active).flatten(0, -2)
        output = tokens.new_zeros(len(tokens), self.up.shape[1])
        for t, (down, up) in enumerate(zip(self.down, self.up, strict=True)):
            chosen = weights[:, t].nonzero().squeeze(1)
            answer = tokens[chosen] @ down.T @ up.T
            if self.bias is not None:
                answer = answer + self.bias[t]
            answer = weights[chosen, t, None] * answer
            output.index_add_(0, chosen, answer.to(output))
        return output.unflatten(0, x.shape[:-1])

    def stored_bytes(self) -> int:
        """The bytes of the experts; a router that is part of them is not stored."""
        stored = self.down.nbytes + self.up.nbytes
        if self.bias is not None:
            stored += self.bias.nbytes
        if self.router.shape[1] > self.down.shape[1]:
            stored += self.router.nbytes
        return stored


def route(x: Tensor, router: Tensor, active: int) -> Tensor:
    """The weight of each expert for each token of x [..., in], [..., task].

    At most `active` weights of a token are not zero, and they add up to
    1.
    """
    scores = torch.einsum("...i,tgi->...tg", x, router).norm(dim=-1)
    weights = scores.softmax(-1)
    top, experts = weights.topk(active, dim=-1)
    shares = top / top.sum(-1, keepdim=True)
    return torch.zeros_like(weights).scatter(-1, experts, shares)


@dataclass(frozen=True)
class Experts:
    """The experts of all layers, by the name of the layer's weight."""

    layers: Mapping[str, Layer]
    active: int
    slots: Mapping[str, Slot]

    @contextmanager
    def attach(self, module: nn.Module, task: str) -> Iterator[None]:
        """Adds the experts' outputs to the layers'.

        Raises TadropError if a layer with experts is never used.
        """
        used = set()

        def visit(product: Product, output: Tensor) -> Tensor:
            layer = self.layers.get(product.weight)
            if layer is None:
                return output
            if product.bias != layer.bias_name and layer.bias is not None:
                raise TadropError(
                    f"layer {product.weight!r} adds {product.bias!r}, "
                    f"not {layer.bias_name!r}"
                )
            used.add(product.weight)
            return output + layer.delta(product.inputs, self.active)

        with tapped(module, self.slots, visit):
            yield
        if used:
            refuse_unused(set(self.layers) - used)

    def stored_bytes(self) -> int:
        """The bytes of all layers' experts."""
        return sum(layer.stored_bytes() for layer in self.layers.values())


def layer(
    taus: Float[Tensor, "task out in"],
    biases: Float[Tensor, "task out"] | None,
    bias_name: str | None,
    keep: float,
    gate: int,
) -> Layer:
    """The experts of one layer from the task vectors of its weight and its bias."""
    triplets = svd(taus)
    rank = triplets.values.shape[-1]
    kept = triplets.first(max(round(keep * rank), 1))
    down = kept.right.to(taus)
    up = (kept.left * kept.values.unsqueeze(-2)).to(taus)
    router = triplets.right[:, : min(gate, rank)].to(taus)
    return Layer(down, up, router, bias_name, biases)


def _layer_of(stream: Stream, name: str, keep: float, gate: int) -> Layer | None:
    """The experts of the layer with this weight; None if no task changed it."""
    taus = stream.taus(name)
    bias_name: str | None = name.removesuffix("weight") + "bias"
    if bias_name in stream.names:
        biases = stream.taus(bias_name)
    else:
        bias_name = biases = None
    changed = taus.any() or (biases is not None and biases.any())
    if not changed:
        return None
    if stream.matrix_layouts[name].transposed:
        taus = taus.mT
    return layer(taus, biases, bias_name, keep, gate)


def build(
    merged: Merged,
    stream: Stream,
    bench: Workbench,
    scale: float,
    on_step: Callable[[], None],
    *,
    keep: float,
    gate: int = 1,
    active: int = 1,
) -> Merged:
    """The merge (an untouched base) with experts at every linear layer."""
    check_keep(keep)
    tasks = len(stream.tasks)
    if not 1 <= active <= tasks or gate < 1:
        raise TadropError(
            f"active is {active} and gate is {gate}; "
            f"1 <= active <= {tasks} tasks and gate >= 1"
        )
    layers = {}
    for name, layout in stream.matrix_layouts.items():
        if layout.kind == "linear":
            experts = _layer_of(stream, name, keep, gate)
            if experts is not None:
                layers[name] = experts
        on_step()
    slots = bench.slots(stream.names)
    return replace(merged, attachment=Experts(layers, active, slots))
