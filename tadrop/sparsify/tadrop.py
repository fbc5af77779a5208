"""TADrop, Tensor-wise Adaptive Drop (arXiv 2508.06163): each tensor its own sparsity.

The paper's text could not be read in full; this is our reading of its published
description. With v = |tau| of one task's tensor, R = Q_lo(v) / Q_hi(v) in [0, 1] is
small for a heavy tail, which should keep more, and large for a dense, even one. The
fraction dropped is s = R (or a map of it), the smallest magnitudes go, and the
survivors are rescaled to the norm of the whole tensor.

Other readings of the ratio are words of `reading` (readings/ratios.py).

With a `density` the sparsities say how the entries that are kept are shared out, and no
longer how many they are: see shares/density.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import floor
from typing import Annotated, Literal

from tadrop.numerics.quantile import spectrum
from tadrop.numerics.spectrum import Bounds, Spectrum
from tadrop.protocols.streams import Cuts, Redealt, Sparsifier
from tadrop.sparsify.readings import ratios
from tadrop.sparsify.rule import Rule
from tadrop.sparsify.shares.assigned import Assigned, Table
from tadrop.sparsify.shares.density import Order, as_found, shared
from tadrop.sparsify.top_cut import TopCut, check_equals, check_norm, restored, top
from tadrop.types import TadropError, Vector, check_scope

MAPS = ("identity", "power", "affine")

# A control of TADrop: from the rule and its cuts, the rule that deals the same number of
# entries out otherwise.
Deal = Callable[["TADrop", Cuts], Sparsifier]


@dataclass(frozen=True)
class TADrop(Rule):
    """The rule and its settings.

    q_lo, q_hi: the two quantiles of |tau|, 0 < q_lo < q_hi <= 1
    reading:    what stands for R in the place of these quantiles: mean/max, kurtosis, ...
                (readings/ratios.py); None for Q_lo / Q_hi
    norm:       what the survivors' rescaling restores: none, l1 or l2
    equals:     entries as large as the smallest survivor: drawn, an exact count by an
                order without a bias for position, or all of them
    map:        sparsity from ratio. identity: R; power: R ** gamma;
                affine: slope * R + offset, in [s_min, s_max]
    assign:     adaptive: each tensor its own sparsity; any other word is the name of a
                control that keeps as much in all
    deal:       how the control deals it out (tadrop/sparsify/controls)
    scope:      what has a sparsity of its own: a tensor, a layer or the whole model
    seed:       of controls that draw
    density:    the share of every task vector that is kept, in (0, 1]; native, which is
                that of the method's own rule; None: what the sparsities give
    own:        that rule, where density is native
    """

    q_lo: float
    q_hi: float
    norm: str = "l1"
    map: str = "identity"
    gamma: float = 1.0
    slope: float = 1.0
    offset: float = 0.0
    s_min: float = 0.0
    s_max: float = 1.0
    assign: str = "adaptive"
    scope: str = "tensor"
    seed: int = 0
    deal: Deal | None = None
    equals: str = "drawn"
    density: Annotated[float, "(0, 1]"] | Literal["native"] | None = None
    own: Redealt | None = None
    reading: str | None = None

    def __post_init__(self) -> None:
        if self.reading is not None:
            ratios.reading(self.reading)
        if not 0 < self.q_lo < self.q_hi <= 1:
            raise TadropError(
                f"q_lo is {self.q_lo} and q_hi is {self.q_hi}; "
                "0 < q_lo < q_hi <= 1 must hold"
            )
        check_norm(self.norm)
        check_equals(self.equals)
        check_scope(self.scope, ("tensor", "layer", "model"))
        if not 0 <= self.s_min <= self.s_max <= 1:
            raise TadropError(
                f"s_min is {self.s_min} and s_max is {self.s_max}; "
                "0 <= s_min <= s_max <= 1 must hold"
            )
        if self.gamma <= 0:
            raise TadropError(f"gamma is {self.gamma}; it must be positive")
        if self.map not in MAPS:
            raise TadropError(
                f"map is {self.map!r}; it must be one of {', '.join(MAPS)}"
            )
        if isinstance(self.density, int | float) and not 0 < self.density <= 1:
            raise TadropError(f"density is {self.density}; it must be in (0, 1]")
        self._check_control()

    def _check_control(self) -> None:
        if self.assign != "adaptive" and self.deal is None:
            raise TadropError(
                f"assign is {self.assign!r}, and `deal` does not say how that deals "
                "entries out; a control is chosen by its file, such as tadrop=uniform"
            )
        if self.assign == "adaptive" and self.deal is not None:
            raise TadropError("assign is adaptive, but `deal` is a control's: name it")

    def ratio(self, vector: Vector, magnitudes: Spectrum) -> float:
        """R = Q_lo / Q_hi, or what `reading` says, in [0, 1].

        It is 0 where Q_hi is 0, so that a mostly-zero tensor loses nothing.
        """
        if self.reading is not None:
            return ratios.reading(self.reading)(vector, magnitudes)
        low, high = magnitudes.quantiles([self.q_lo, self.q_hi])
        return low / high if high > 0 else 0.0

    def sparsity(self, ratio: float) -> float:
        """The fraction dropped, in [0, 1]."""
        if self.map == "power":
            return ratio**self.gamma
        if self.map == "affine":
            mapped = self.slope * ratio + self.offset
            return min(max(mapped, self.s_min), self.s_max)
        return ratio

    def _dropped(self, ratio: float, size: int) -> int:
        return min(floor(self.sparsity(ratio) * size), size - 1)

    def _ranks(self, bounds: Bounds, size: int) -> tuple[int, int]:
        """Between which ranks the smallest survivor lies.

        It lies there if the quantiles lie within these bounds.
        """
        (low, lower), (high, higher) = bounds
        least = low / higher
        most = min(lower / high, 1.0) if high > 0 else 1.0
        ranks = self._dropped(least, size), self._dropped(most, size)
        return min(ranks), max(ranks)

    def plan(self, vector: Vector) -> TopCut:
        """Keeps k = n - floor(s n) entries, at least one.

        A tensor of one entry is left alone. So is one of zeros, which fine-tuning has
        not changed; controls do not count its entries. With a density nothing is cut yet.
        """
        size = vector.size
        if size <= 1:
            return TopCut(size, size, -1.0, ratio=0.0)
        magnitudes = spectrum(vector)
        if self.reading is None:
            fractions = [self.q_lo, self.q_hi]
            magnitudes.foresee(fractions, lambda bounds: self._ranks(bounds, size))
        ratio = self.ratio(vector, magnitudes)
        if not ratio and not any(magnitudes.quantiles([1.0])):
            return TopCut(size, size, -1.0, ratio=ratio, zeros=True)
        if self.density is not None:  # how much to keep is known when all are planned
            return TopCut(size, size, -1.0, ratio=ratio)
        count = size - self._dropped(ratio, size)
        cut = top(vector, magnitudes, count, self.equals)
        return restored(magnitudes, replace(cut, ratio=ratio), self.norm)

    def stand_in(self, cuts: Cuts) -> Sparsifier | None:
        """The control, where there is one; with a density, the rule that keeps it."""
        if self.deal is not None:
            return self.deal(self, cuts)
        return None if self.density is None else self.keeping(self.shared(cuts))

    def shared(self, cuts: Cuts, order: Order = as_found) -> Table:
        """What every vector keeps at the density that is set.

        order: of a task's sparsities over its vectors, which a control changes
        """
        density = self.density if self.own is None else self.own.density
        if not isinstance(density, int | float):
            raise TadropError(
                f"density is {density}, and no rule says how much that is"
            )
        # A rule that cuts a whole model counts what fine-tuning left as it was, too.
        of_all = self.own is not None and self.own.scope == "model"
        return shared(cuts, self.sparsity, density, order, of_all)

    def keeping(self, table: Table, scope: str | None = None) -> Sparsifier:
        """The rule that keeps so much of every vector: its largest magnitudes.

        A method's own rule that draws what it keeps, as DARE does, draws here too.
        """
        scope = scope or self.scope
        redealt = self.own.redealt(table, scope) if self.own is not None else None
        return redealt or Assigned(table, self.norm, scope, self.equals)
