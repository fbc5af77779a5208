"""SCE (FuseChat, arXiv 2408.07990) as mergekit computes it: select by variance,
calculate weights, erase minorities.

Per tensor: only the int(select * n) entries whose variance over tasks is largest stay
(n counts entries of nonzero variance; select 1 keeps all); task t weighs its share of
the sum of squares; entries that disagree with the sign of the sum (0 counts as
positive) are erased; the rest is a weighted mean. mergekit uses equal weights where the
squares average below 1e-6, which fine-tuned deltas often do: `floor` is that threshold,
0 the paper's formula.
"""

import torch

from tadrop.numerics.ops import along, largest, rows, total
from tadrop.types import Deltas, Taus


def merge(taus: Taus, select: float = 1.0, floor: float = 0.0) -> Deltas:
    """One tensor."""
    if select < 1:
        variance = rows(taus).var(0, correction=0)
        stays = largest(variance, int(int(torch.count_nonzero(variance)) * select))
        taus = torch.where(stays.view(taus.shape[1:]), taus, 0)
    energy = rows(taus).double().square().mean(1)
    weights = (
        energy / energy.sum()
        if energy.sum() > floor
        else torch.full_like(energy, 1 / len(taus))
    )
    agree = (taus >= 0) == (total(taus) >= 0)
    weights = along(weights, taus) * agree * (taus != 0)
    below = total(weights)
    return total(taus * weights) / torch.where(below > 0, below, 1)
