"""What may stand for TADrop's ratio: a number in [0, 1], small for a heavy tail.

A word A/B is the ratio of two statistics of the magnitudes v = |tau|, each of them mean,
median, rms, max or the number of a quantile: mean/max, 0.5/0.99, median/rms. One above 1
counts as 1. Words of one statistic: kurtosis is (sum v^2)^2 / (n sum v^4), the inverse
of the kurtosis about zero, 1/3 for a Gaussian; hill is 1 / (1 + xi) with Hill's
estimate of the tail index xi from the largest 5 % of the entries. A vector of zeros has
the ratio 0.
"""

from collections.abc import Callable
from math import log

from tadrop.numerics.spectrum import Spectrum
from tadrop.types import TadropError, Vector

Reading = Callable[[Vector, Spectrum], float]
Statistic = Callable[[Spectrum], float]
TAIL = 0.05  # the share of the largest entries from which Hill's estimate is made


def _mean(magnitudes: Spectrum) -> float:
    return magnitudes.norm(1) / magnitudes.size


def _rms(magnitudes: Spectrum) -> float:
    return magnitudes.norm(2) / magnitudes.size**0.5


def _quantile(fraction: float) -> Statistic:
    def statistic(magnitudes: Spectrum) -> float:
        return magnitudes.quantiles([fraction])[0]

    return statistic


QUANTILES = {"median": 0.5, "max": 1.0}
STATISTICS: dict[str, Statistic] = {
    "mean": _mean,
    "median": _quantile(0.5),
    "rms": _rms,
    "max": _quantile(1.0),
}


def kurtosis(vector: Vector, magnitudes: Spectrum) -> float:
    """The inverse of the kurtosis about zero, in (0, 1]; 0 for a vector of zeros."""
    squares = magnitudes.norm(2) ** 2
    if squares == 0:
        return 0.0
    fourth = 0.0
    for piece in vector.pieces():
        fourth += float(piece.double().pow(4).sum())
    return min(squares**2 / (magnitudes.size * fourth), 1.0)


def hill(vector: Vector, magnitudes: Spectrum) -> float:
    """1 / (1 + xi), in (0, 1]; 0 where less than a twentieth of the entries are not 0.

    xi is the mean of log(v / threshold) over the largest entries, threshold being the
    largest of the others (B. M. Hill, Annals of Statistics 3, 1975).
    """
    size = magnitudes.size
    count = max(int(TAIL * size), 1)
    (threshold,) = magnitudes.order_statistics([size - count - 1])
    if threshold.value == 0:
        return 0.0
    above = 0.0
    for piece in vector.pieces():
        values = piece.double().abs()
        above += float(values[values > threshold.value].log().sum())
    equal = count - (size - threshold.below - threshold.equal)
    total = above + equal * log(threshold.value)
    return 1 / (1 + max(total / count - log(threshold.value), 0.0))


TAILS: dict[str, Reading] = {"kurtosis": kurtosis, "hill": hill}


def reading(word: str) -> Reading:
    """What a word reads off a vector of two entries or more.

    Raises TadropError for a word that is none.
    """
    if word in TAILS:
        return TAILS[word]
    upper, slash, lower = word.partition("/")
    first, second = _statistic(upper), _statistic(lower)
    if not slash or first is None or second is None:
        raise TadropError(
            f"reading is {word!r}; it is {', '.join(TAILS)}, or A/B of two of "
            f"{', '.join(STATISTICS)} or quantiles in (0, 1], such as mean/max or 0.5/0.99"
        )
    if _is_never_below(upper, lower):
        raise TadropError(
            f"reading is {word!r}, at least 1 whatever the tensor, so that all would be "
            "dropped; the smaller statistic stands first, as in mean/max"
        )
    return _fraction(first, second)


def _is_never_below(upper: str, lower: str) -> bool:
    """Whether a statistic is at least another one whatever the magnitudes are."""
    one, other = _fraction_of(upper), _fraction_of(lower)
    if one is not None and other is not None:
        return one >= other
    return upper == lower or one == 1 or (upper, lower) == ("rms", "mean")


def _fraction_of(word: str) -> float | None:
    """The quantile that a statistic is; None for one that is none."""
    if word in QUANTILES:
        return QUANTILES[word]
    try:
        return float(word)
    except ValueError:
        return None


def _statistic(word: str) -> Statistic | None:
    """A statistic by its name, or a quantile by its number; None for another word."""
    if word in STATISTICS:
        return STATISTICS[word]
    try:
        fraction = float(word)
    except ValueError:
        return None
    return _quantile(fraction) if 0 < fraction <= 1 else None


def _fraction(upper: Statistic, lower: Statistic) -> Reading:
    def ratio(vector: Vector, magnitudes: Spectrum) -> float:
        below = lower(magnitudes)
        return min(upper(magnitudes) / below, 1.0) if below > 0 else 0.0

    return ratio
