"""SCE (FuseChat, arXiv 2408.07990): select by variance, calculate weights, erase.

Per tensor:
- Select: only the int(select * n) entries whose variance over the tasks
  is largest stay, where n counts the entries of nonzero variance. The
  paper's recipe keeps the top 10 %; select = 1 keeps all entries.
- Calculate: task t weighs its share of the sum of squares of what was
  selected.
- Erase: entries that disagree with the sign of the sum, where 0 counts
  as positive, are dropped. The rest is a weighted mean.

It sees no data. There are three readings:
- The row sce is the paper's formula with its 10 %: what is not selected
  is not merged.
- The row sce_mergekit is mergekit's default, select = 1. Some versions
  of mergekit give all tasks equal weights where the squares average
  below 1e-6, which those of fine-tuned models often do; `floor` is that
  threshold.
- The row sce_code is the authors' own code, in which the selection
  enters the weights alone and every entry is merged (`selects`).

Departure: of equal variances at the cut the first stay. The order of
torch's topk, which the other codes follow, is not defined.
"""

import torch
from torch import Tensor

from tadrop.numerics.ops import along, largest, rows, total
from tadrop.types import Deltas, TadropError, Taus


def _shares(taus: Taus, floor: float) -> Tensor:
    """Each task's share of the sum of mean squares, [T] float64."""
    energy = rows(taus).double().square().mean(1)
    if energy.sum() > floor:
        return energy / energy.sum()
    return torch.full_like(energy, 1 / len(taus))


def merge(
    taus: Taus,
    select: float = 1.0,
    selects: str = "entries",
    floor: float = 0.0,
) -> Deltas:
    """One tensor.

    selects: what the selection holds for, entries (merged, and counted
             in the weights) or weights (counted in the weights alone)
    """
    if selects not in ("entries", "weights"):
        raise TadropError(f"selects is {selects!r}; it must be entries or weights")
    chosen = taus
    if select < 1 and taus.numel():
        variance = rows(taus).var(0, correction=0)
        count = int(int(torch.count_nonzero(variance)) * select)
        selected = largest(variance, count).view(taus.shape[1:])
        chosen = torch.where(selected, taus, 0)
    merged = chosen if selects == "entries" else taus
    agree = (merged >= 0) == (total(merged) >= 0)
    weights = along(_shares(chosen, floor), merged) * agree * (merged != 0)
    sums = total(weights)
    return total(merged * weights) / torch.where(sums > 0, sums, 1)
