"""Beam search (greedy with one beam) over any model that says how likely each next
token is.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[
    [Tensor, Tensor], Tensor
]  # (rows [n], ids [n, length]) -> logits of the next token [n, vocabulary]


def search(
    step: Step,
    rows: Tensor,
    start: int,
    end: int,
    longest: int,
    beams: int = 1,
    penalty: float = 0.0,
) -> Tensor:
    """The best text found for each row, [row, at most longest], -1 after its end; start
    and end are no part of it.

    A text's score is its log-probability, the end token's included, over its length (so
    counted) ** penalty. At every step the `beams` best are kept of the finished texts
    and of all continuations of the others; one beam is greedy decoding. rows: whatever
    tells step which example a text belongs to, one entry each.
    """
    device, count = rows.device, len(rows)
    ids = torch.full((count, beams, 1), start, device=device)
    totals = torch.full((count, beams), -torch.inf, device=device)
    totals[:, 0] = 0  # all beams are the same text: one of them counts
    lengths = torch.zeros(count, beams, device=device)
    done = torch.zeros(count, beams, dtype=torch.bool, device=device)
    while ids.shape[2] <= longest:
        live = ~done & totals.isfinite()
        if not live.any():
            break
        at, beam = live.nonzero(as_tuple=True)
        next_words = step(rows[at], ids[at, beam]).float().log_softmax(1)
        words = next_words.new_full((count, beams, next_words.shape[1]), -torch.inf)
        words[at, beam] = next_words
        words[..., end] = words[..., end].masked_fill(
            done, 0.0
        )  # a finished text goes on as it is
        grown = lengths + ~done
        candidates = totals[..., None] + words
        best = (
            (candidates / grown.clamp(min=1)[..., None] ** penalty)
            .flatten(1)
            .topk(beams, dim=1)
            .indices
        )
        parent, word = best // words.shape[2], best % words.shape[2]
        totals, lengths = candidates.flatten(1).gather(1, best), grown.gather(1, parent)
        kept = ids.gather(1, parent[..., None].expand(-1, -1, ids.shape[2]))
        ids = torch.cat([kept, word[..., None]], dim=2)
        done = done.gather(1, parent) | (word == end)
    found = ids[:, 0, 1:]
    return found.masked_fill((found == end).cumsum(1) > 0, -1)
