"""Experts under the base's names: what merges is in all of them, in one shape."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import TadropError
from tadrop.vectors.names import is_private

MERGED = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# The dtypes of buffers, which a merged model has from its base.
CARRIED = (
    *(torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint8, torch.bool),
)


def merged_names(base: Checkpoint, private: Sequence[str]) -> tuple[str, ...]:
    """The base's floating-point tensors that are not private, in the order of names."""
    names: list[str] = []
    for name in sorted(base.tensors):
        if is_private(name, private) or name in base.held:
            continue
        tensor = base.like(name)
        _check_dtype(base, name, tensor)
        if tensor.is_floating_point():
            names.append(name)
    return tuple(names)


def _check_dtype(checkpoint: Checkpoint, name: str, tensor: Tensor) -> None:
    """Raises TadropError for tensors that are packed, quantised or complex."""
    if tensor.dtype not in MERGED and tensor.dtype not in CARRIED:
        raise TadropError(
            f"{checkpoint.path}: tensor {name!r} is {tensor.dtype}, which is not merged; "
            "load the model dequantised and save it in float32, float16 or bfloat16"
        )


def matched(base: Checkpoint, expert: Checkpoint) -> Checkpoint:
    """The expert with its tensors under the base's names.

    Tied tensors may go by any of their names. Raises TadropError where the expert holds
    different tensors for names that the base ties. Tensors that are made when asked for
    have the base's names already.
    """
    if expert.likes is not None:
        return expert
    tensors = dict(expert.tensors)
    for alias, name in expert.aliases.items():
        if name in expert.tensors:
            tensors[alias] = expert.tensors[name]
    for alias, name in base.aliases.items():
        if name in base.tensors and alias in tensors:
            tied = tensors.pop(alias)
            same = tensors.setdefault(name, tied)
            if same is not tied and not torch.equal(same, tied):
                raise TadropError(
                    f"{expert.path}: tensors {name!r} and {alias!r} differ; "
                    f"the base {base.path} ties them"
                )
    kept: dict[str, Tensor] = {}
    for name in sorted(tensors):
        if name in base.tensors or name not in expert.aliases:
            kept[name] = tensors[name]
    return replace(expert, tensors=kept, aliases={}, lasting=True)


def check_fits(
    base: Checkpoint,
    expert: Checkpoint,
    names: Sequence[str],
    private: Sequence[str],
) -> None:
    """Raises TadropError unless every merged tensor is in the expert as in the base.

    What the expert holds beside the base's tensors must be private.
    """
    for name in names:
        _check_tensor(base, expert, name)
    for name in expert.tensors:
        if name not in base.tensors and not is_private(name, private):
            raise TadropError(
                f"{expert.path}: tensor {name!r} is not in the base {base.path} "
                "and is not private; "
                "name it in model.private if it is the task's own"
            )


def _check_tensor(base: Checkpoint, expert: Checkpoint, name: str) -> None:
    if name not in expert.tensors:
        raise TadropError(
            f"{expert.path}: tensor {name!r} is missing (the base {base.path} has it)"
        )
    tensor, own = expert.like(name), base.like(name)
    if tensor.shape != own.shape:
        raise TadropError(
            f"{expert.path}: tensor {name!r} has shape {list(tensor.shape)}; "
            f"the base {base.path} has {list(own.shape)}. "
            "If it is the task's own (a head), name it in model.private"
        )
    if not tensor.is_floating_point():
        raise TadropError(
            f"{expert.path}: tensor {name!r} is {tensor.dtype}; "
            "the base's is floating-point"
        )
    _check_dtype(expert, name, tensor)
