"""MetaGPT (arXiv 2406.11385): Task Arithmetic with lambda_t = ||tau_t||^2 / sum_j
||tau_j||^2 over the whole model.
"""

import torch
from torch import Tensor

from tadrop.numerics.ops import along, total
from tadrop.protocols import Stream
from tadrop.types import Deltas, Taus
from tadrop.vectors.passes import entries


def survey(stream: Stream) -> Tensor:
    """lambda_t, [T] float64; all 0 where every task vector is."""
    squares = sum(taus.double().square().sum(1) for taus in entries(stream))
    return squares / squares.sum().clamp(min=torch.finfo(torch.float64).tiny)


def merge(taus: Taus, survey: Tensor) -> Deltas:
    """The weighted sum."""
    return total(taus * along(survey, taus))
