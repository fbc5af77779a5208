"""DARE's random drop (arXiv 2311.03099).

Each entry stays with probability `keep`, and survivors are divided by it. The paper's
drop rate p is 1 - keep. The draw of an entry depends on (seed, task, tensor name,
index) alone, so the same entries stay whatever the order, the pieces or the machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tadrop.protocols.streams import Sparsifier
from tadrop.sparsify.random_cut import RandomCut
from tadrop.sparsify.rule import Rule
from tadrop.types import Facts, Vector, check_keep, check_scope


@dataclass(frozen=True)
class Dare(Rule):
    """A random drop with the same probability for every entry.

    rescale=False is what the authors' scripts do unless told otherwise; the paper
    rescales by 1 / keep.

    trim: the rule of the method that DARE stands before, such as TIES' trim; it cuts
          what the drop has left
    """

    keep: float
    seed: int
    rescale: bool = True
    scope: str = "tensor"
    trim: Sparsifier | None = None

    def __post_init__(self) -> None:
        check_keep(self.keep)
        check_scope(self.scope, ("tensor",))

    @property
    def following(self) -> Sparsifier | None:
        """See Sparsifier."""
        return self.trim

    @property
    def density(self) -> float:
        """See Redealt."""
        return self.keep

    def redealt(self, table: Mapping[tuple[str, str], Facts], scope: str) -> "Shared":
        """See Redealt."""
        return Shared(self, table, scope)

    def plan(self, vector: Vector) -> RandomCut:
        """See Sparsifier."""
        words = ("dare", self.seed, vector.task, vector.name)
        factor = 1 / self.keep if self.rescale else 1.0
        return RandomCut(words, vector.size, self.keep, factor)


@dataclass(frozen=True)
class Shared(Rule):
    """The random drop with another share kept of each vector, and its own rescale.

    table: of which the kept and all entries of a vector say its share, on average
    """

    rule: Dare
    table: Mapping[tuple[str, str], Facts]
    scope: str

    @property
    def following(self) -> Sparsifier | None:
        """See Sparsifier."""
        return self.rule.following

    def plan(self, vector: Vector) -> RandomCut:
        """See Sparsifier."""
        facts = self.table[vector.task, vector.name]
        keep = facts.kept / facts.size if facts.size else 1.0
        return replace(self.rule, keep=keep).plan(vector)
