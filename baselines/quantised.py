"""Task vectors of a few bits an entry (arXiv 2503.06921): uniform, affine, per tensor.

With b bits there are 2^b levels at equal steps from the smallest entry
to the largest, moved by less than a step so that 0 is one of them:

    step = (max - min) / (2^b - 1), zero = round(-min / step)
    tau = step * (clip(round(tau / step) + zero, 0, 2^b - 1) - zero)

Min and max are taken with 0 among the entries. Needs the task id. The
formula sees no data.

Of the paper this is the task vector quantised by itself. Its residual
form, which splits a vector into a common and an own part of different
precision, is not here.
"""

import torch

from tadrop.types import Deltas, TadropError, Taus


def merge(taus: Taus, bits: int = 4) -> Deltas:
    """Each task's entries rounded to their level, of a whole tensor.

    bits: from 2 to 8
    """
    if not 2 <= bits <= 8:
        raise TadropError(f"bits is {bits}; it must be from 2 to 8")
    if taus[0].numel() == 0:
        return taus
    flat, last = taus.reshape(len(taus), -1).double(), 2**bits - 1
    lowest = flat.amin(1, keepdim=True).clamp(max=0)
    highest = flat.amax(1, keepdim=True).clamp(min=0)
    step = (highest - lowest) / last
    step = torch.where(step > 0, step, 1.0)
    zero = torch.round(-lowest / step)
    levels = torch.clamp(torch.round(flat / step) + zero, 0, last)
    return (step * (levels - zero)).to(taus.dtype).view(taus.shape)
