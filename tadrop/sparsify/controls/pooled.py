"""pooled: as many entries of each task as TADrop keeps, the largest of the whole model.

One threshold for all tensors of a task, as in TIES' trim, and one rescale.
"""

from collections import Counter

from tadrop.protocols.streams import Cuts, Sparsifier
from tadrop.sparsify.shares.assigned import counted
from tadrop.sparsify.tadrop import TADrop
from tadrop.types import Facts
from tadrop.vectors.names import cut_name


def deal(rule: TADrop, cuts: Cuts) -> Sparsifier:
    """The rule that keeps the largest of a task, wherever they are."""
    table = counted(cuts) if rule.density is None else rule.shared(cuts)
    kept, size = Counter[str](), Counter[str]()
    for (task, _), facts in table.items():
        kept[task] += 0 if facts.zeros else facts.kept
        size[task] += facts.size
    pooled: dict[tuple[str, str], Facts] = {}
    for task in kept:
        facts = Facts(size[task], kept[task], factor=1.0)
        pooled[task, cut_name("model", "")] = facts
    return rule.keeping(pooled, scope="model")
