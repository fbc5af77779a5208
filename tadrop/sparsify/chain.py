"""What happens to task vectors before they are merged: one list of transformations.

They are applied in the order in which they are written. A search, TADrop and a method's
own sparsifier are such transformations; a search is one once it is bound to its model
and data.
"""

from collections.abc import Callable, Iterable

from tadrop.protocols.streams import Sparsifier, Stream
from tadrop.sparsify.cut_stream import Sparse

Transformation = Callable[[Stream], Stream]


def chain(steps: Iterable[Transformation]) -> Transformation:
    """One transformation that applies all of these, the first one first."""
    steps = tuple(steps)

    def transformation(stream: Stream) -> Stream:
        for step in steps:
            stream = step(stream)
        return stream

    return transformation


def sparsified(
    rule: Sparsifier,
    on_cut: Callable[[], None] = lambda: None,
) -> Transformation:
    """The transformation that cuts by a rule, every cut planned.

    Where another rule stands in for this one once its cuts are known, as a control of
    TADrop does, that rule cuts the same vectors. A rule that another one follows is cut
    by both. on_cut is called once for each cut of the rule itself.
    """

    def transformation(stream: Stream) -> Stream:
        sparse = Sparse(stream, rule, on_cut)
        sparse.plan()
        stand_in = rule.stand_in(sparse.cuts())
        if stand_in is not None:
            return sparsified(stand_in)(stream)
        following = rule.following
        return sparse if following is None else sparsified(following)(sparse)

    return transformation
