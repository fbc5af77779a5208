"""Beam search over any model that says how likely each next token is.

With one beam it is greedy decoding.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# (rows [n], ids [n, length]) -> logits of the next token [n, vocabulary]
Step = Callable[[Tensor, Tensor], Tensor]


def search(
    step: Step,
    rows: Tensor,
    start: int,
    end: int,
    longest: int,
    beams: int = 1,
    penalty: float = 0.0,
) -> Tensor:
    """The best text found for each row, [row, at most longest], -1 after its end.

    start and end are no part of it. A text's score is its log-probability, the end
    token's included, over its length (so counted) ** penalty. At every step the `beams`
    best are kept of the finished texts and of all continuations of the others; one beam
    is greedy decoding. rows: whatever tells step which example a text belongs to, one
    entry each.
    """
    device, count = rows.device, len(rows)
    ids = torch.full((count, beams, 1), start, device=device)
    totals = torch.full((count, beams), -torch.inf, device=device)
    totals[:, 0] = 0.0  # all beams are the same text: one of them counts
    lengths = torch.zeros(count, beams, device=device)
    done = torch.zeros(count, beams, dtype=torch.bool, device=device)
    while ids.shape[2] <= longest:
        live = ~done & totals.isfinite()
        if not live.any():
            break
        row, beam = live.nonzero(as_tuple=True)
        next_words = step(rows[row], ids[row, beam]).float().log_softmax(1)
        vocabulary = next_words.shape[1]
        words = next_words.new_full((count, beams, vocabulary), -torch.inf)
        words[row, beam] = next_words
        # A finished text goes on as it is.
        words[..., end] = words[..., end].masked_fill(done, 0.0)
        grown = lengths + ~done
        candidates = totals[..., None] + words
        weighed = candidates / grown.clamp(min=1)[..., None] ** penalty
        best = weighed.flatten(1).topk(beams, dim=1).indices
        parent, word = best // vocabulary, best % vocabulary
        totals = candidates.flatten(1).gather(1, best)
        lengths = grown.gather(1, parent)
        kept = ids.gather(1, parent[..., None].expand(-1, -1, ids.shape[2]))
        ids = torch.cat([kept, word[..., None]], dim=2)
        done = done.gather(1, parent) | (word == end)
    texts = ids[:, 0, 1:]
    return texts.masked_fill((texts == end).cumsum(1) > 0, -1)
