"""Where merged tensors lie in a module: a parameter, some of its rows, or the transpose
of these.

A checkpoint's tensor need not be a parameter: CLIP's query, key and value are rows of
one. What is measured or changed by parameter (gradients, products, weights of one's own
for each input) is read and written by tensor through a Slot.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from tadrop.types import Slot, TadropError


def locate(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Slot]:
    """The places of named tensors (parameters of the module, or views of them); others
    have none and are left out.

    Raises TadropError for a parameter that is not contiguous.
    """
    owners = {
        p.untyped_storage().data_ptr(): (name, p)
        for name, p in module.named_parameters()
        if p.numel()
    }
    found = {}
    for name, tensor in tensors.items():
        if tensor.untyped_storage().data_ptr() not in owners:
            continue
        parameter, whole = owners[tensor.untyped_storage().data_ptr()]
        if not whole.is_contiguous():
            raise TadropError(
                f"parameter {parameter!r} is not contiguous; methods that look at data need it so"
            )
        offset = tensor.storage_offset() - whole.storage_offset()
        found[name] = Slot(
            parameter, tuple(whole.shape), tuple(tensor.shape), tensor.stride(), offset
        )
    return found


def parameters(module: nn.Module, places: Iterable[Slot]) -> dict[str, Tensor]:
    """The parameters that hold these places, by the module's names for them, in its
    order.
    """
    wanted = {place.parameter for place in places}
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        if name in wanted
    }
