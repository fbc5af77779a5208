"""Taps on a module's matrix products: see, or amend, what weights are multiplied with.

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
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.modules.slots import parameters
from tadrop.types import Slot, TadropError


@dataclass(frozen=True)
class Product:
    """One product of inputs [..., in] with a named weight and perhaps a bias.

    transposed: the weight lies [in, out]
    """

    weight: str
    bias: str | None
    inputs: Tensor
    transposed: bool = False


# From a product and its output [..., out] the output to go on with.
Visit = Callable[[Product, Tensor], Tensor]


@contextmanager
def tapped(
    module: nn.Module,
    slots: Mapping[str, Slot],
    visit: Visit,
) -> Iterator[None]:
    """Shows visit every product with a tensor that has a slot.

    The module goes on with what it returns.
    """
    tap = _Tap(module, slots, visit)
    with (
        without_fast_path(),
        patch.object(F, "linear", tap.watched_linear),
        patch.object(torch, "addmm", tap.watched_addmm),
    ):
        yield


class _Tap:
    """What stands in for torch's products while a module is tapped."""

    def __init__(
        self,
        module: nn.Module,
        slots: Mapping[str, Slot],
        visit: Visit,
    ) -> None:
        self.visit = visit
        self.linear, self.addmm = F.linear, torch.addmm
        # By the identity of a parameter, the tensors that sit in it.
        self.held: dict[int, list[tuple[str, Slot]]] = {}
        owners = parameters(module, slots.values())
        for name, slot in slots.items():
            owner = id(owners[slot.parameter])
            self.held.setdefault(owner, []).append((name, slot))

    def watched_linear(
        self,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        output = self.linear(inputs, weight, bias)
        if id(weight) not in self.held:
            return output
        return self._shown(weight, bias, inputs, output, axis=0)

    def watched_addmm(
        self,
        bias: Tensor,
        inputs: Tensor,
        weight: Tensor,
        **options: Any,
    ) -> Tensor:
        output = self.addmm(bias, inputs, weight, **options)
        if id(weight) not in self.held or options:
            return output
        return self._shown(weight, bias, inputs, output, axis=1)

    def _shown(
        self,
        weight: Tensor,
        bias: Tensor | None,
        inputs: Tensor,
        output: Tensor,
        axis: int,
    ) -> Tensor:
        """The output as it is after a visit of each tensor in the weight.

        axis: that of the weight along which the output lies
        """
        biases: dict[tuple[int, int], str] = {}
        for name, slot in self.held.get(id(bias), ()):
            biases[slot.span(0)] = name
        amended = output
        for name, slot in self.held[id(weight)]:
            start, stop = slot.span(axis)
            product = Product(name, biases.get((start, stop)), inputs, axis == 1)
            if stop - start == output.shape[-1]:
                return self.visit(product, output)
            part = output[..., start:stop]
            changed = self.visit(product, part)
            if changed is not part:
                if amended is output:
                    amended = output.clone()
                amended[..., start:stop] = changed
        return amended


def refuse_unused(names: Collection[str]) -> None:
    """Raises TadropError for tensors that were tapped and never met in a product."""
    if names:
        raise TadropError(
            "no linear layers of the model, though model.matrices says so: "
            f"{', '.join(sorted(names))}"
        )


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Turns torch's fused attention for inference off while the block lasts.

    It multiplies out of sight, and knows no weights of each input's own.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
