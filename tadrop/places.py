"""Where merged tensors lie in a module: a parameter, some of its rows, or the transpose of these.

A checkpoint's tensor need not be a parameter: CLIP's query, key and value are rows of one. What is measured or changed
by parameter (gradients, products, weights of one's own for each input) is read and written by tensor through a Place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor, nn

from tadrop.types import TadropError


@dataclass(frozen=True)
class Place:
    """One tensor's part of a parameter: which one, of what shape, and the part's shape, strides and first entry."""

    parameter: str
    whole: tuple[int, ...]
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def of(self, like: Tensor) -> Tensor:
        """The tensor's part of something shaped [..., *parameter]; a view where that is contiguous."""
        like = like.contiguous()
        leading = like.dim() - len(self.whole)
        shape, stride = (*like.shape[:leading], *self.shape), (*like.stride()[:leading], *self.stride)
        return like.as_strided(shape, stride, like.storage_offset() + self.offset)

    def span(self, axis: int) -> tuple[int, int]:
        """First and last + 1 of the parameter's rows (axis 0) or columns (axis 1) that are the tensor's."""
        inner, size = prod(self.whole[1:]), prod(self.shape)
        if axis == 0:
            return self.offset // inner, (self.offset + size) // inner
        return self.offset % inner, self.offset % inner + size // self.whole[0]


def locate(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Place]:
    """The places of named tensors (parameters of the module, or views of them); others have none and are left out.

    Raises TadropError for a parameter that is not contiguous.
    """
    owners = {p.untyped_storage().data_ptr(): (name, p) for name, p in module.named_parameters() if p.numel()}
    found = {}
    for name, tensor in tensors.items():
        if tensor.untyped_storage().data_ptr() not in owners:
            continue
        parameter, whole = owners[tensor.untyped_storage().data_ptr()]
        if not whole.is_contiguous():
            raise TadropError(f"parameter {parameter!r} is not contiguous; methods that look at data need it so")
        offset = tensor.storage_offset() - whole.storage_offset()
        found[name] = Place(parameter, tuple(whole.shape), tuple(tensor.shape), tensor.stride(), offset)
    return found


def parameters(module: nn.Module, places: Iterable[Place]) -> dict[str, Tensor]:
    """The parameters that hold these places, by the module's names for them, in its order."""
    wanted = {place.parameter for place in places}
    return {name: parameter for name, parameter in module.named_parameters() if name in wanted}
