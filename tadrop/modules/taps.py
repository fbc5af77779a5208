"""Taps on a module's matrix products: see, or amend, what every merged weight matrix is
multiplied with.

Works by watching torch's two products with a weight, `linear` (weight [out, in]) and
`addmm` (GPT-2's Conv1D, weight [in, out]), while a `with` block lasts. Module hooks
would miss the projections inside torch's own multi-head attention, which CLIP uses, and
would need a table of layer types; here the product itself says which matrix it is and
how it lies. A parameter that holds several tensors (query, key and value) is shown as
one product for each.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.modules.slots import parameters
from tadrop.types import Slot, TadropError


@dataclass(frozen=True)
class Product:
    """One product of inputs [..., in] with a named weight and perhaps a bias;
    `transposed` where it lies [in, out].
    """

    weight: str
    bias: str | None
    inputs: Tensor
    transposed: bool = False


Visit = Callable[
    [Product, Tensor], Tensor
]  # (product, its output [..., out]) -> the output to go on with


@contextmanager
def tapped(
    module: nn.Module, places: Mapping[str, Slot], visit: Visit
) -> Iterator[None]:
    """Shows visit every product with a tensor that has a place, and goes on with what
    it returns.
    """
    held: dict[int, list[tuple[str, Slot]]] = {}
    owners = parameters(module, places.values())
    for name, place in places.items():
        held.setdefault(id(owners[place.parameter]), []).append((name, place))
    linear, addmm = F.linear, torch.addmm

    def shown(
        weight: Tensor, bias: Tensor | None, inputs: Tensor, output: Tensor, axis: int
    ) -> Tensor:
        biases = {place.span(0): name for name, place in held.get(id(bias), ())}
        changes = []
        for name, place in held[id(weight)]:
            start, stop = place.span(axis)
            part = (
                output if stop - start == output.shape[-1] else output[..., start:stop]
            )
            product = Product(
                name, biases.get((start, stop)), inputs, transposed=axis == 1
            )
            changed = visit(product, part)
            if part is output:
                return changed
            if changed is not part:
                changes.append((start, stop, changed))
        if not changes:
            return output
        amended = output.clone()
        for start, stop, changed in changes:
            amended[..., start:stop] = changed
        return amended

    def watched_linear(
        inputs: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        output = linear(inputs, weight, bias)
        return (
            shown(weight, bias, inputs, output, axis=0)
            if id(weight) in held
            else output
        )

    def watched_addmm(
        bias: Tensor, inputs: Tensor, weight: Tensor, **scales: float
    ) -> Tensor:
        output = addmm(bias, inputs, weight, **scales)
        return (
            shown(weight, bias, inputs, output, axis=1)
            if id(weight) in held and not scales
            else output
        )

    with (
        without_fast_path(),
        patch.object(F, "linear", watched_linear),
        patch.object(torch, "addmm", watched_addmm),
    ):
        yield


def refuse_unused(names: Collection[str]) -> None:
    """Raises TadropError for tensors that were to be tapped and never met in a product."""
    if names:
        raise TadropError(
            f"no linear layers of the model, though model.matrices says so: {', '.join(sorted(names))}"
        )


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Torch's fused attention for inference multiplies out of sight, and knows no
    weights of each input's own.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
