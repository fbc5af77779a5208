"""A merging method as the engine sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from tadrop.types import (
    KINDS,
    Deltas,
    Masked,
    Merge,
    TadropError,
    check_scope,
)


@dataclass(frozen=True)
class Method:
    """A merging method: free functions of a formula file, and how they are fed.

    merge(taus) -> Deltas | Masked | LowRank
        Called once a piece; with `statistics=` too if the row declares them.
    scope
        entry: any piece of a tensor will do; tensor: whole tensors only; matrix: only
        what the backbone says is a matrix, whole and out x in.
    rest(taus) -> Deltas
        Matrix scope: every other tensor, whole.
    kinds, fused
        Matrix scope: which kinds of matrices (see MatrixLayout); fused ones whole or
        split.
    needs
        What merge is handed by name beside taus: uncut (the task vectors before the
        last sparsifier, shaped as taus), theta0 (the pretrained entries), order (the
        indices of the tasks as the user named them; taus are in the order of names).
    survey(stream) -> anything
        An optional pass over all task vectors (and `statistics=`, if declared), handed
        to merge as `survey=`.
    tally(taus, merged) -> [k, T]
        Optional sums over a piece's entries, added up per tensor by the engine.
    compiled(taus) -> merged, tally
        An optional twin of merge and tally for large tensors on the CPU: same bits.
    rescale(sums, sizes) -> [T]
        From the tallies [tensor, k, T] and tensor sizes one factor per task, or [1].
    """

    merge: Merge
    scope: str = "entry"
    survey: Callable[..., Any] | None = None
    tally: Callable[..., Tensor] | None = None
    rescale: Callable[[Tensor, Tensor], Tensor] | None = None
    compiled: Callable[..., tuple[Deltas | Masked, Tensor | None]] | None = None
    rest: Merge | None = None
    kinds: Sequence[str] = ("linear", "table")
    fused: str = "whole"
    needs: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._unwrap_partials()
        check_scope(self.scope, ("entry", "tensor", "matrix"))
        if (self.tally is None) != (self.rescale is None):
            raise TadropError("a method has both tally and rescale, or neither")
        if (self.rest is None) == (self.scope == "matrix"):
            raise TadropError(
                "a method of scope matrix says with `rest` what other tensors get; "
                "no other method does"
            )
        if self.needs and self.scope == "matrix":
            raise TadropError(
                "a method of scope matrix is handed nothing beside taus: "
                "leave `needs` empty"
            )
        if self.fused not in ("whole", "split"):
            raise TadropError(f"fused is {self.fused!r}; it must be whole or split")
        _check_words("kinds", self.kinds, KINDS[:2])
        _check_words("needs", self.needs, ("uncut", "theta0", "order"))

    def _unwrap_partials(self) -> None:
        """Makes plain partials of Hydra's.

        Hydra's check their target at every call, which takes a millisecond a piece.
        """
        for name, function in list(vars(self).items()):
            if isinstance(function, partial):
                plain = partial(function.func, *function.args, **function.keywords)
                object.__setattr__(self, name, plain)


def _check_words(name: str, words: Sequence[str], allowed: Sequence[str]) -> None:
    """Raises TadropError unless all words are among the allowed ones."""
    unknown = set(words) - set(allowed)
    if unknown:
        raise TadropError(
            f"{name} has {sorted(unknown)}; it may have {', '.join(allowed)}"
        )
