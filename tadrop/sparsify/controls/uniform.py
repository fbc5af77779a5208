"""uniform: one keep for every tensor of every task, at TADrop's overall density.

At a density that is set each task keeps exactly as many entries as with TADrop.
"""

from tadrop.protocols.streams import Cuts, Sparsifier
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.shares.assigned import counted
from tadrop.sparsify.shares.density import even
from tadrop.sparsify.tadrop import TADrop


def deal(rule: TADrop, cuts: Cuts) -> Sparsifier:
    """The rule that keeps the same fraction everywhere."""
    if rule.density is not None:
        return rule.keeping(rule.shared(cuts, even))
    kept = size = 0
    for facts in counted(cuts).values():
        if not facts.zeros:
            kept += facts.kept
            size += facts.size
    keep = kept / size if size else 1.0
    return Magnitude(keep, norm=rule.norm, equals=rule.equals, scope=rule.scope)
