"""The rows that a merge is measured against: the models before merging.

They see no data.
"""

import torch

from tadrop.types import Deltas, Taus


def individual(taus: Taus) -> Deltas:
    """Every task keeps its own fine-tuned model."""
    return taus


def pretrained(taus: Taus) -> Deltas:
    """Every task gets the untouched base."""
    return torch.zeros_like(taus[:1])
