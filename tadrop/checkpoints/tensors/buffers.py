"""Tensors that no formula is about: masks and counters, and statistics of activations.

A base holds them (`Checkpoint.held`): they are written as they are there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tadrop.checkpoints.made import Maker, empty, with_made, without
from tadrop.checkpoints.tensors.kinds import is_constant, is_statistic
from tadrop.storage.checkpoint import Checkpoint
from tadrop.types import TadropError
from tadrop.vectors.names import is_private

MEAN, BASE = "mean", "base"
MASK = 1 << 24  # entries up to which a tensor is looked through for a mask

Experts = Mapping[str, Checkpoint]


def with_constants(base: Checkpoint) -> Checkpoint:
    """The base with its constants and counters held."""
    constants: set[str] = set()
    for name in base.tensors:
        if is_constant(name, base.like(name)):
            constants.add(name)
    return replace(base, held=base.held | constants)


def without_constants(base: Checkpoint, experts: Experts) -> dict[str, Checkpoint]:
    """Experts without constants that the base does not store: models make them."""
    kept: dict[str, Checkpoint] = {}
    for task, expert in experts.items():
        extra: set[str] = set()
        for name in expert.tensors:
            if name not in base.tensors and is_constant(name, expert.like(name)):
                extra.add(name)
        kept[task] = without(expert, extra)
    return kept


def check_integers(base: Checkpoint, experts: Experts, private: Sequence[str]) -> None:
    """Raises TadropError for integers that differ: no formula merges them."""
    told: list[str] = []
    for name in base.tensors:
        is_left = name in base.held or is_private(name, private)
        if base.like(name).is_floating_point() or is_left:
            continue
        for expert in experts.values():
            other = expert.tensors.get(name)
            if other is not None and not torch.equal(other, base[name]):
                told.append(f"{expert.path}: {name} ({base[name].dtype})")
    if told:
        raise TadropError(
            "integers that differ from the base's are not merged: "
            f"{'; '.join(told[:5])}; keep the base's with --keep-base, or each "
            "expert's own with --private"
        )


def with_shared_masks(base: Checkpoint, experts: Experts) -> Checkpoint:
    """The base with tensors held that have infinite entries, equal in all: masks."""
    masks: set[str] = set()
    for name in base.tensors:
        like = base.like(name)
        if name in base.held or not like.is_floating_point() or like.numel() > MASK:
            continue
        tensor = base[name]
        if _has_no_number(tensor):
            others: list[Tensor | None] = []
            for one in experts.values():
                others.append(one.tensors.get(name))
            if all(other is None or _same(other, tensor) for other in others):
                masks.add(name)
    return replace(base, held=base.held | masks)


def _has_no_number(tensor: Tensor) -> bool:
    """Whether the first or last entries are infinite; masks have rows of them."""
    if not tensor.numel():
        return False
    flat = tensor.reshape(-1)
    ends = torch.cat([flat[:4096], flat[-4096:]]).float()
    return not bool(torch.isfinite(ends).all())


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(
        one.nan_to_num(nan=7.0), other.nan_to_num(nan=7.0)
    )


def with_statistics(
    base: Checkpoint, experts: Experts, word: str
) -> tuple[Checkpoint, list[str]]:
    """The base with running statistics held: the experts' mean, or its own.

    They describe activations; a sum of differences makes variances negative.
    """
    names: list[str] = []
    for name in base.tensors:
        if is_statistic(name):
            names.append(name)
    if not names:
        return base, []
    if word not in (MEAN, BASE):
        raise TadropError(f"statistics is {word!r}; it must be mean or base")
    held = replace(base, held=base.held | set(names))
    if word == MEAN:
        makers: dict[str, Maker] = {}
        for name in names:
            makers[name] = _mean(base, experts, name)
        likes: dict[str, Tensor] = {}
        for name in names:
            likes[name] = empty(base.like(name))
        held = with_made(held, makers, likes)
    whose = "the experts' mean" if word == MEAN else "the base's"
    note = (
        f"{len(names)} running statistics are {whose}, of other activations than the "
        "merge's; one pass over data sets them right (torch.optim.swa_utils.update_bn)"
    )
    return held, [note]


def _mean(base: Checkpoint, experts: Experts, name: str) -> Maker:
    def mean() -> Tensor:
        stacked: list[Tensor] = []
        for one in experts.values():
            stacked.append(one[name].float())
        return torch.stack(stacked).mean(0).to(base.like(name).dtype)

    return mean
