"""What an export never holds: NaN and infinity, in any dtype."""

import math

import torch
from torch import Tensor

from tadrop.types import TadropError


def check_scale(scale: float) -> None:
    """Raises TadropError for a scale that makes every weight NaN or infinite."""
    if not math.isfinite(scale):
        raise TadropError(f"the scale is {scale}; it must be a finite number")


def all_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite. Integers always are finite."""
    if not tensor.is_floating_point():
        return True
    if tensor.dtype.itemsize == 1:  # no sums of 8-bit floats
        tensor = tensor.float()
    # A sum tells it of all entries in one pass; where it overflows they are looked at.
    total = tensor.sum(dtype=torch.float64)
    return math.isfinite(total.item()) or bool(torch.isfinite(tensor).all())


def check_finite(name: str, weights: Tensor, rounded: Tensor) -> None:
    """Raises TadropError naming a tensor that is not finite, and why it is not.

    weights: before they were rounded to the dtype of the file
    """
    if all_finite(rounded):
        return
    if all_finite(weights):
        raise _too_narrow(name, rounded.dtype)
    raise TadropError(
        f"tensor {name!r} is NaN or infinite once it is merged; "
        "look at the scale and at the settings of the row"
    )


def check_copied(name: str, entries: Tensor, rounded: Tensor) -> None:
    """Raises TadropError for NaN, and for infinities that rounding made.

    A tensor that is copied may hold infinities of its own, as attention masks do.
    """
    if all_finite(rounded):
        return
    if torch.isnan(rounded).any():
        raise TadropError(f"tensor {name!r}, which is copied, holds NaN")
    if not torch.equal(torch.isinf(entries), torch.isinf(rounded)):
        raise _too_narrow(name, rounded.dtype)


def _too_narrow(name: str, dtype: torch.dtype) -> TadropError:
    word = str(dtype).removeprefix("torch.")
    wider = "fp32" if word == "bfloat16" else "bf16 or fp32"
    if word == "float32":
        wider = "a smaller scale"
    return TadropError(f"tensor {name!r} does not fit {word}; use {_named(wider)}")


def _named(remedy: str) -> str:
    return remedy if " " in remedy and "or" not in remedy else f"export.dtype={remedy}"
