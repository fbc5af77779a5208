"""SMILE (arXiv 2408.10174): every linear layer of the base plus low-rank experts, one a
task, chosen token by token.

Expert t of a layer is the truncated singular value decomposition of its task vector,
with the whole bias delta. The router scores a token x by |V_t[:gate] x|_2, takes the
softmax over tasks, keeps the `active` largest and renormalises. No task id is needed.
Whatever is no linear layer stays pretrained (the authors' default), and so does a layer
that no task changed. `keep` is the fraction of the singular triplets kept: the authors'
k = 128 of 768 is 1/6, and 1 is their k = -1, the dense delta. Which tensors are linear
layers is the backbone's word; biases go by torch's rule for names.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tadrop.modules.taps import Product, refuse_unused, tapped
from tadrop.numerics.linalg import svd
from tadrop.protocols import Stream, Workbench
from tadrop.types import Slot, TadropError, Taus, check_keep
from tadrop.vectors.merged import Merged


@dataclass(frozen=True)
class Layer:
    """One layer's experts: down [task, rank, in], up [task, out, rank], router [task,
    gate, in], bias [task, out].
    """

    down: Tensor
    up: Tensor
    router: Tensor
    bias_name: str | None
    bias: Tensor | None

    def delta(self, x: Tensor, active: int) -> Tensor:
        """What the chosen experts add to the output for inputs [..., in]. An expert
        sees its own tokens only.
        """
        tokens, weights = x.flatten(0, -2), route(x, self.router, active).flatten(0, -2)
        output = tokens.new_zeros(len(tokens), self.up.shape[1])
        for t, (down, up) in enumerate(zip(self.down, self.up, strict=True)):
            at = weights[:, t].nonzero().squeeze(1)
            said = tokens[at] @ down.T @ up.T
            said = said if self.bias is None else said + self.bias[t]
            output.index_add_(0, at, (weights[at, t, None] * said).to(output))
        return output.unflatten(0, x.shape[:-1])

    def stored_bytes(self) -> int:
        """The router is stored only where it is no part of the experts."""
        tensors = [self.down, self.up] + ([] if self.bias is None else [self.bias])
        tensors += [self.router] if self.router.shape[1] > self.down.shape[1] else []
        return sum(t.numel() * t.element_size() for t in tensors)


def route(x: Tensor, router: Tensor, active: int) -> Tensor:
    """The weight of each expert for each token, [..., task]: at most `active` are not
    zero, and they add up to 1.
    """
    scores = torch.einsum("...i,tgi->...tg", x, router).norm(dim=-1)
    weights = scores.softmax(-1)
    top, at = weights.topk(active, dim=-1)
    return torch.zeros_like(weights).scatter(-1, at, top / top.sum(-1, keepdim=True))


@dataclass(frozen=True)
class Experts:
    """The experts of all layers, by the name of the layer's weight."""

    layers: Mapping[str, Layer]
    active: int
    places: Mapping[str, Slot]

    @contextmanager
    def attach(self, module: nn.Module, task: str) -> Iterator[None]:
        """Adds the experts' outputs to the layers'. Raises TadropError if a layer with
        experts is never used.
        """
        used = set()

        def visit(product: Product, output: Tensor) -> Tensor:
            layer = self.layers.get(product.weight)
            if layer is None:
                return output
            if product.bias != layer.bias_name and layer.bias is not None:
                raise TadropError(
                    f"layer {product.weight!r} adds {product.bias!r}, not {layer.bias_name!r}"
                )
            used.add(product.weight)
            return output + layer.delta(product.inputs, self.active)

        with tapped(module, self.places, visit):
            yield
        if used:
            refuse_unused(set(self.layers) - used)

    def stored_bytes(self) -> int:
        return sum(layer.stored_bytes() for layer in self.layers.values())


def layer(
    taus: Taus, biases: Taus | None, bias_name: str | None, keep: float, gate: int
) -> Layer:
    """The experts of one layer from its task vectors [task, out, in] and [task, out]."""
    parts = svd(taus)
    ranks = parts.values.shape[-1]
    kept = parts.first(max(round(keep * ranks), 1))
    up, down = (kept.left * kept.values.unsqueeze(-2)).to(taus), kept.right.to(taus)
    return Layer(
        down, up, parts.right[:, : min(gate, ranks)].to(taus), bias_name, biases
    )


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
    if not 1 <= active <= len(stream.tasks) or gate < 1:
        raise TadropError(
            f"active is {active} and gate is {gate}; 1 <= active <= {len(stream.tasks)} tasks and gate >= 1"
        )
    layers = {}
    for name, layout in stream.layouts.items():
        taus = stream.taus(name)
        bias = name.removesuffix("weight") + "bias"
        biases = stream.taus(bias) if bias in stream.names else None
        changed = bool(torch.count_nonzero(taus)) or (
            biases is not None and bool(torch.count_nonzero(biases))
        )
        if layout.kind == "linear" and changed:
            upright = taus.mT if layout.transposed else taus
            layers[name] = layer(
                upright, biases, None if biases is None else bias, keep, gate
            )
        on_step()
    return replace(
        merged, attachment=Experts(layers, active, bench.places(stream.names))
    )
