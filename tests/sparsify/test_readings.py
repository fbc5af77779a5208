"""Other readings of TADrop's ratio, against hand computation and plain numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tadrop.numerics.quantile import SMALL, spectrum
from tadrop.results import identity
from tadrop.sparsify.readings.ratios import TAIL, reading
from tadrop.sparsify.tadrop import TADrop
from tadrop.types import TadropError, Vector
from tests.records import config

FOUR = torch.tensor([1.0, -2.0, 3.0, -4.0])


def read(word, tau):
    vector = Vector.of(tau)
    return reading(word)(vector, spectrum(vector))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("mean/max", 2.5 / 4),
        ("median/mean", 1.0),
        ("mean/rms", 2.5 / 7.5**0.5),
        ("median/0.75", 2.5 / 3.25),
        ("0.5/1", 2.5 / 4),
        ("0.6/mean", 1.0),
        ("kurtosis", 30**2 / (4 * (1 + 16 + 81 + 256))),
        ("hill", 1 / (1 + np.log(4 / 3))),
    ],
)
def test_four_entries_by_hand(word, expected):
    assert read(word, FOUR) == pytest.approx(expected)


def slow_hill(tau):
    values = np.sort(np.abs(tau.double().numpy()))
    count = max(int(TAIL * len(values)), 1)
    top, threshold = values[-count:], values[-count - 1]
    return 1 / (1 + np.mean(np.log(top / threshold)))


@pytest.mark.parametrize("size", [40, 2 * SMALL + 1])
def test_tails_are_those_of_plain_formulas(size):
    tau = torch.distributions.StudentT(3.0).sample((size,))
    values = tau.double().numpy()
    inverse = np.sum(values**2) ** 2 / (size * np.sum(values**4))
    assert read("kurtosis", tau) == pytest.approx(inverse)
    assert read("hill", tau) == pytest.approx(slow_hill(tau))


def test_equal_entries_at_hill_s_threshold_count_as_they_are():
    tau = torch.tensor([1.0] * 30 + [2.0] * 10)
    assert read("hill", tau) == pytest.approx(slow_hill(tau))
    assert slow_hill(tau) == 1


def test_heavier_tails_read_smaller():
    generator = torch.Generator().manual_seed(0)
    even = torch.rand(20_000, generator=generator)
    normal = torch.randn(20_000, generator=generator)
    heavy = normal / torch.rand(20_000, generator=generator).sqrt()
    for word in ("mean/max", "mean/rms", "median/0.99", "kurtosis", "hill"):
        assert read(word, even) > read(word, normal) > read(word, heavy), word


@pytest.mark.parametrize("word", ["mean/max", "kurtosis", "hill", "0.5/0.9"])
def test_zeros_read_zero(word):
    assert read(word, torch.zeros(50)) == 0


@pytest.mark.parametrize(
    "word", ["mean", "mean/", "0/1", "2/max", "mean/top", "tail", ""]
)
def test_other_words_are_refused(word):
    with pytest.raises(
        TadropError, match=f"^reading is {word!r}; it is kurtosis, hill"
    ):
        TADrop(0.8, 0.9, reading=word)


@pytest.mark.parametrize(
    "word", ["max/mean", "mean/mean", "0.9/0.5", "max/0.99", "rms/mean", "1/median"]
)
def test_ratios_that_are_never_below_one_are_refused(word):
    with pytest.raises(TadropError, match=f"^reading is {word!r}, at least 1 whatever"):
        TADrop(0.8, 0.9, reading=word)


def test_a_quantile_s_reading_is_the_rule_with_these_quantiles():
    vector = Vector.of(
        torch.randn(3 * SMALL, generator=torch.Generator().manual_seed(1))
    )
    rule = TADrop(0.5, 0.9)
    assert replace(rule, reading="0.5/0.9").plan(vector) == rule.plan(vector)


def test_a_reading_says_how_much_is_dropped():
    vector = Vector.of(FOUR.repeat(25))
    plan = TADrop(0.8, 0.9, reading="mean/max").plan(vector)
    assert plan.ratio == 0.625
    assert plan.kept == 100 - 62


def test_no_reading_is_no_part_of_a_key():
    plain, other = config("ties", tadrop={}), config("ties", tadrop={"reading": "hill"})
    unset = config("ties", tadrop={"reading": None, "density": None})
    assert identity.key(unset) == identity.key(plain) != identity.key(other)
