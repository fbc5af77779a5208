"""What most sparsifiers say of themselves."""

from tadrop.protocols.streams import Cuts, Sparsifier


class Rule:
    """The usual answers to what a Sparsifier is asked; a rule that differs says so."""

    @property
    def by_rows(self) -> bool:
        """False: a cut is applied to any piece of a tensor."""
        return False

    @property
    def following(self) -> Sparsifier | None:
        """None: the rule is the last one."""
        return None

    def stand_in(self, cuts: Cuts) -> Sparsifier | None:
        """None: the rule's own cuts are the ones to apply."""
        return None
