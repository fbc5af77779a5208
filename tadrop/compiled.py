"""Whether a tensor is worth the compiled kernels, and tensors as the arrays that they take."""

import numpy as np
import torch
from torch import Tensor

FROM = 1 << 16  # entries of a whole tensor; below, plain torch is as fast and spares the import of the compiler


def worthwhile(size: int, tensor: Tensor) -> bool:
    """Whether the compiled path serves a piece of a tensor of so many entries; results are the same either way."""
    return size >= FROM and tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.is_contiguous()


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def bits(tensor: Tensor) -> np.ndarray:
    """The floats' bits, in place."""
    return tensor.detach().numpy().view(np.uint32)
