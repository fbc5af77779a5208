"""uniform: one keep for every tensor of every task, at TADrop's overall density."""

from tadrop.protocols.streams import Cuts
from tadrop.sparsify.controls.dealing import counted
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.tadrop import TADrop


def deal(rule: TADrop, cuts: Cuts) -> Magnitude:
    """The rule that keeps the same fraction everywhere."""
    kept = size = 0
    for facts in counted(cuts).values():
        kept += facts.kept
        size += facts.size
    keep = kept / size
    return Magnitude(keep, norm=rule.norm, equals=rule.equals, scope=rule.scope)
