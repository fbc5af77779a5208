"""What happens to task vectors before a merge: a list of transformations, in order.

A transformation takes a stream and gives a stream, as optax's gradient transformations
do with updates: a search, TADrop, a method's own sparsifier.
"""

from collections.abc import Callable, Sequence

from tadrop.protocols import Sparsifier, Stream
from tadrop.sparsify.controls import control
from tadrop.sparsify.cut_stream import Sparse, all_cuts
from tadrop.sparsify.tadrop import TADrop

Transformation = Callable[[Stream], Stream]


def chain(transformations: Sequence[Transformation]) -> Transformation:
    """The transformations one after the other, the first one first."""

    def chained(stream: Stream) -> Stream:
        for transformation in transformations:
            stream = transformation(stream)
        return stream

    return chained


def sparsified(
    rule: Sparsifier, on_cut: Callable[[], None] = lambda: None
) -> Transformation:
    """The stream that a rule cuts, every cut planned. on_cut: called once a cut."""

    def transformation(stream: Stream) -> Stream:
        cut = Sparse(stream, rule, on_cut)
        cuts = all_cuts(cut)
        if isinstance(rule, TADrop) and rule.assign != "adaptive":
            cut = Sparse(stream, control(rule, cuts), on_cut)
            all_cuts(cut)
        return cut

    return transformation
