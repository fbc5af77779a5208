"""Where merged tensors sit in a module: in a parameter, or in a part of one.

A checkpoint's tensor need not be a parameter: CLIP's query, key and value are rows of
one, and a tensor may be a parameter's transpose. What is measured or changed by
parameter (gradients, products, weights of one's own for each input) is read and written
by tensor through a Slot.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from tadrop.types import Slot, TadropError


def locate(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Slot]:
    """The slots of named tensors, which are parameters of the module or views of them.

    Other tensors have none and are left out. Raises TadropError for a parameter that is
    not contiguous.
    """
    owners: dict[int, tuple[str, Tensor]] = {}
    for name, parameter in module.named_parameters():
        if parameter.numel():
            owners[_memory(parameter)] = name, parameter
    slots: dict[str, Slot] = {}
    for name, tensor in tensors.items():
        if _memory(tensor) in owners:
            slots[name] = _slot(tensor, *owners[_memory(tensor)])
    return slots


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _slot(tensor: Tensor, name: str, parameter: Tensor) -> Slot:
    """Where a tensor sits in a parameter of this name, of which it is a view."""
    if not parameter.is_contiguous():
        raise TadropError(
            f"parameter {name!r} is not contiguous; "
            "methods that look at data need it so"
        )
    offset = int(tensor.storage_offset() - parameter.storage_offset())
    shape, stride = tuple(tensor.shape), tensor.stride()
    return Slot(name, tuple(parameter.shape), shape, stride, offset)


def parameters(module: nn.Module, slots: Iterable[Slot]) -> dict[str, Tensor]:
    """The parameters that hold these slots, by the module's names for them.

    They come in the module's order.
    """
    wanted = {slot.parameter for slot in slots}
    owners: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        if name in wanted:
            owners[name] = parameter
    return owners
