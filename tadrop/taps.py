"""Taps on a module's matrix products: see, or amend, what every weight matrix is multiplied with.

Works by watching torch's two products with a weight, `linear` (weight [out, in]) and `addmm` (GPT-2's Conv1D, weight
[in, out]), while a `with` block lasts. Module hooks would miss the projections inside torch's own multi-head attention,
which CLIP uses, and would need a table of layer types; here the product itself says which matrix it is and how it lies.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Product:
    """One product of inputs [..., in] with a named weight and perhaps a bias; `transposed` where it lies [in, out]."""

    weight: str
    bias: str | None
    inputs: Tensor
    transposed: bool = False


Visit = Callable[[Product, Tensor], Tensor]  # (product, its output [..., out]) -> the output to go on with


@contextmanager
def tapped(module: nn.Module, visit: Visit) -> Iterator[None]:
    """Shows visit every product with one of the module's parameters, and goes on with what it returns."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    linear, addmm = F.linear, torch.addmm

    def watched_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        output = linear(inputs, weight, bias)
        if id(weight) not in names:
            return output
        return visit(Product(names[id(weight)], names.get(id(bias)), inputs), output)

    def watched_addmm(bias: Tensor, inputs: Tensor, weight: Tensor, **scales: float) -> Tensor:
        output = addmm(bias, inputs, weight, **scales)
        if id(weight) not in names or scales:
            return output
        return visit(Product(names[id(weight)], names.get(id(bias)), inputs, transposed=True), output)

    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it multiplies out of sight
    try:
        with patch.object(F, "linear", watched_linear), patch.object(torch, "addmm", watched_addmm):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
