"""uniform: one keep for every tensor of every task, at TADrop's overall density."""

from tadrop.protocols import Cuts
from tadrop.sparsify.controls.dealing import counted
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.tadrop import TADrop


def deal(rule: TADrop, cuts: Cuts) -> Magnitude:
    """The rule that keeps the same fraction everywhere."""
    facts = counted(cuts).values()
    keep = sum(fact.kept for fact in facts) / sum(fact.size for fact in facts)
    return Magnitude(keep, norm=rule.norm, scope=rule.scope)
