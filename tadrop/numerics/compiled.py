"""Whether a tensor is worth the compiled kernels, and tensors as they take them."""

import sys

import numpy as np
import torch
from torch import Tensor

# Entries of a whole tensor; below, plain torch spares the import of the compiler.
FROM = 1 << 16
# The same once the kernels are there, relative to FROM.
THERE = 8


def worthwhile(size: int, tensor: Tensor) -> bool:
    """Whether to import the kernels for a piece of a tensor of so many entries.

    They must take it, too.
    """
    return size >= FROM and _takes(tensor)


def serves(size: int, tensor: Tensor) -> bool:
    """The same for what gives the same bits either way.

    Smaller tensors take the kernels too once they are there.
    """
    is_there = "tadrop.numerics.kernels.entries" in sys.modules
    least = FROM >> THERE if is_there else FROM
    return size >= least and _takes(tensor)


def _takes(tensor: Tensor) -> bool:
    return (
        tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and tensor.is_contiguous()
    )


def array(tensor: Tensor) -> np.ndarray:
    """The floats, in place."""
    return tensor.detach().numpy()


def bits(tensor: Tensor) -> np.ndarray:
    """The floats' bits, in place."""
    return tensor.detach().numpy().view(np.uint32)
