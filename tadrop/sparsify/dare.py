"""DARE's random drop (arXiv 2311.03099).

Each entry stays with probability `keep`, and survivors are divided by it. The paper's
drop rate p is 1 - keep. The draw of an entry depends on (seed, task, tensor name,
index) alone, so the same entries stay whatever the order, the pieces or the machine.
"""

from dataclasses import dataclass

from tadrop.protocols.streams import Sparsifier
from tadrop.sparsify.random_cut import RandomCut
from tadrop.sparsify.rule import Rule
from tadrop.types import Vector, check_keep, check_scope


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

    def plan(self, vector: Vector) -> RandomCut:
        """See Sparsifier."""
        words = ("dare", self.seed, vector.task, vector.name)
        factor = 1 / self.keep if self.rescale else 1.0
        return RandomCut(words, vector.size, self.keep, factor)
