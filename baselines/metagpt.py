"""MetaGPT (arXiv 2406.11385): Task Arithmetic weighed by the vectors' squared norms.

    lambda_t = ||tau_t||^2 / sum_j ||tau_j||^2

with norms over the whole model. It sees no data.
"""

import torch
from torch import Tensor

from tadrop.numerics.ops import along, total
from tadrop.protocols.streams import Stream
from tadrop.types import Deltas, Taus
from tadrop.vectors.passes import entries

TINY = torch.finfo(torch.float64).tiny


def survey(stream: Stream) -> Tensor:
    """lambda_t, [T] float64; all 0 where every task vector is 0."""
    count = len(stream.tasks)
    squares = torch.zeros(count, dtype=torch.float64, device=stream.device)
    for summands in entries(stream, _squares):
        squares += summands
    return squares / squares.sum().clamp(min=TINY)


def _squares(taus: Taus) -> Tensor:
    """The sums of squares of a piece, [T]."""
    return taus.double().square().sum(1)


def merge(taus: Taus, survey: Tensor) -> Deltas:
    """The weighted sum."""
    return total(taus * along(survey, taus))
