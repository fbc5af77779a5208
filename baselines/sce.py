"""SCE (FuseChat, arXiv 2408.07990): select by variance, calculate weights, erase.

This is SCE as mergekit computes it, per tensor:
- Select: only the int(select * n) entries whose variance over the tasks
  is largest stay, where n counts the entries of nonzero variance.
  select = 1 keeps all entries.
- Calculate: task t weighs its share of the sum of squares.
- Erase: entries that disagree with the sign of the sum, where 0 counts
  as positive, are dropped. The rest is a weighted mean.

It sees no data. select = 1 is mergekit's default, where the paper's
recipe keeps the top 10 %. mergekit gives all tasks equal weights where
the squares average below 1e-6, which those of fine-tuned models often
do. `floor` is that threshold; with 0 it is the paper's formula. The
authors' own code masks the weights alone, and is not offered.
"""

import torch
from torch import Tensor

from tadrop.numerics.ops import along, largest, rows, total
from tadrop.types import Deltas, Taus


def _shares(taus: Taus, floor: float) -> Tensor:
    """Each task's share of the sum of mean squares, [T] float64."""
    energy = rows(taus).double().square().mean(1)
    if energy.sum() > floor:
        return energy / energy.sum()
    return torch.full_like(energy, 1 / len(taus))


def merge(taus: Taus, select: float = 1.0, floor: float = 0.0) -> Deltas:
    """One tensor."""
    if select < 1:
        variance = rows(taus).var(0, correction=0)
        count = int(int(torch.count_nonzero(variance)) * select)
        selected = largest(variance, count).view(taus.shape[1:])
        taus = torch.where(selected, taus, 0)
    agree = (taus >= 0) == (total(taus) >= 0)
    weights = along(_shares(taus, floor), taus) * agree * (taus != 0)
    sums = total(weights)
    return total(taus * weights) / torch.where(sums > 0, sums, 1)
