"""Weights on their way into a module: every one that a forward pass reads comes from a
file, or is refused by name.
"""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from tadrop.models.model import Model
from tadrop.models.private import PrivateTensors, missing
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import TadropError
from tadrop.vectors.names import is_private


def private_tensors(model: Model, checkpoint: Checkpoint) -> PrivateTensors:
    """The tensors of a checkpoint that are never merged; only these are read."""
    tensors: dict[str, Tensor] = {}
    for name in checkpoint.tensors:
        if is_private(name, model.private):
            tensors[name] = checkpoint[name]
    return PrivateTensors(checkpoint.path, tensors, model.private)


def shared_tensors(
    model: Model, checkpoint: Checkpoint
) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a checkpoint that are not private, one at a time."""
    for name in checkpoint.tensors:
        if not is_private(name, model.private):
            yield name, checkpoint[name]


def loaded(model: Model, base: Checkpoint, device: torch.device) -> nn.Module:
    """A model's module on a device with the base's weights in it, not to be trained.

    Private tensors of the base are left out: they come with each task (Model.equip).
    Raises TadropError for a tensor that neither the base nor a task fills.
    """
    module = model.build().to(device).eval().requires_grad_(False)
    slots = model.slots(module)
    _refuse_unfilled(model, slots, base)
    _refuse_without_slot(model, slots, module)
    install(slots, shared_tensors(model, base))
    return module


def _refuse_unfilled(
    model: Model, slots: Mapping[str, Tensor], base: Checkpoint
) -> None:
    """Raises TadropError for a slot that the base leaves as the library made it.

    A tensor that is tied to a filled one is filled with it.
    """
    filled: set[int] = set()
    for name, tensor in slots.items():
        if name in base.tensors or is_private(name, model.private):
            filled.add(id(tensor))
    for name, tensor in slots.items():
        if id(tensor) not in filled:
            raise missing(base.path, name)


def _refuse_without_slot(
    model: Model, slots: Mapping[str, Tensor], module: nn.Module
) -> None:
    """Raises TadropError for a tensor of the module that no tensor of a file goes to.

    Counted by storage, since several slots may be views of one tensor.
    """
    entries: dict[int, int] = {}
    for tensor in slots.values():
        address = tensor.untyped_storage().data_ptr()
        entries[address] = entries.get(address, 0) + tensor.numel()
    for name, tensor in module.state_dict(keep_vars=True).items():
        address = tensor.untyped_storage().data_ptr()
        if entries.get(address, 0) < tensor.numel():
            raise TadropError(
                f"model {model.name}: no checkpoint's tensor fills {name!r} of its "
                "module; its slots must name every tensor that is built"
            )


@torch.no_grad()
def install(slots: Mapping[str, Tensor], weights: Iterable[tuple[str, Tensor]]) -> None:
    """Copies weights into a module's tensors in place."""
    for name, weight in weights:
        if name not in slots:
            raise TadropError(
                f"the model has no tensor called {name!r}; "
                "this checkpoint is of another architecture"
            )
        slot = slots[name]
        if slot.shape != weight.shape:
            ours, theirs = list(slot.shape), list(weight.shape)
            raise TadropError(
                f"tensor {name!r} has shape {theirs}; the model's has {ours}"
            )
        slot.copy_(weight)
