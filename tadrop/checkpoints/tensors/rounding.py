"""Experts that are stored with fewer bits than their base.

Their difference from it is then mostly the rounding: bfloat16 moves an entry by up to
0.4 %, far more than most fine-tuning. With `round_base` an expert is compared with the
base rounded as the expert is.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from tadrop.checkpoints.made import Maker, with_made
from tadrop.storage.checkpoint import Checkpoint


def compared(
    base: Checkpoint, experts: Mapping[str, Checkpoint], rounded: bool
) -> tuple[dict[str, Checkpoint], list[str]]:
    """The experts, and notes about those stored with fewer bits.

    rounded: each gets theta0 minus the rounded theta0 added, so that its difference from
    the base is that from the rounded base
    """
    changed: dict[str, Checkpoint] = {}
    notes: list[str] = []
    for task, expert in experts.items():
        names: list[str] = []
        for name in base.tensors:
            if _is_narrower(base, expert, name):
                names.append(name)
        changed[task] = expert
        if not names:
            continue
        dtype = str(expert.like(names[0]).dtype).removeprefix("torch.")
        if rounded:
            changed[task] = _rounded(base, expert, names)
            notes.append(f"{task} is {dtype}: compared with the base rounded to it")
        else:
            notes.append(
                f"{task} is {dtype} and the base is wider: most of their difference may "
                "be rounding; --round-base (model.round_base=true) compares in "
                f"{dtype}"
            )
    return changed, notes


def _is_narrower(base: Checkpoint, expert: Checkpoint, name: str) -> bool:
    if name in base.held or name not in expert.tensors:
        return False
    one, other = base.like(name), expert.like(name)
    floating = one.is_floating_point() and other.is_floating_point()
    return floating and other.dtype.itemsize < one.dtype.itemsize


def _rounded(base: Checkpoint, expert: Checkpoint, names: list[str]) -> Checkpoint:
    makers: dict[str, Maker] = {}
    likes: dict[str, Tensor] = {}
    for name in names:
        makers[name] = _maker(base, expert, name)
        shape = expert.like(name).shape
        likes[name] = torch.empty(shape, dtype=torch.float32, device="meta")
    made = with_made(expert, makers, likes)
    return replace(made, notes=expert.notes)


def _maker(base: Checkpoint, expert: Checkpoint, name: str) -> Maker:
    def made() -> Tensor:
        theta = expert[name]
        theta0 = base[name].float()
        return theta.float() + (theta0 - theta0.to(theta.dtype).float())

    return made
