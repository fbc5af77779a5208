"""Whether a tensor is worth the compiled kernels, and tensors as the arrays that they
take.
"""

import sys

import numpy as np
import torch
from torch import Tensor

FROM = (
    1 << 16
)  # entries of a whole tensor; below, plain torch spares the import of the compiler


def worthwhile(size: int, tensor: Tensor) -> bool:
    """Whether the kernels are worth importing for a piece of a tensor of so many
    entries, and take it.
    """
    return size >= FROM and _takes(tensor)


def serves(size: int, tensor: Tensor) -> bool:
    """The same for what gives the same bits either way: smaller tensors take the
    kernels too once they are there.
    """
    return size >= (
        FROM >> 8 if "tadrop.numerics.kernels" in sys.modules else FROM
    ) and _takes(tensor)


def _takes(tensor: Tensor) -> bool:
    return (
        tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and tensor.is_contiguous()
    )


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def bits(tensor: Tensor) -> np.ndarray:
    """The floats' bits, in place."""
    return tensor.detach().numpy().view(np.uint32)
