"""Rows over several sets of models, each trained from a seed of its own."""

from statistics import stdev

import numpy as np
import pytest

from tadrop.results import identity, table
from tadrop.results.intervals import paired
from tests.records import config, record, write


def bits(right):
    return np.arange(100) < right


def of_sets(merge, averages, **words):
    """One record a set, whose two tasks have these accuracies."""
    made = []
    for seed, value in enumerate(averages):
        made.append(record(merge, (value, value), training_seed=seed, **words))
    return made


def test_the_usual_seed_is_no_part_of_a_key_and_another_one_is():
    usual, other = config("ties"), config("ties", training_seed=1)
    bare = config("ties")
    del bare["model"]["training_seed"]
    assert identity.key(usual) == identity.key(bare)
    assert identity.key(usual) != identity.key(other)
    assert "training_seed" not in identity.settings(usual)["model"]
    assert identity.settings(other)["model"]["training_seed"] == 1


def test_where_sets_lie_is_no_part_of_a_key():
    here, there = config("ties", training_seed=1), config("ties", training_seed=1)
    there["model"]["trained_in"] = "/elsewhere"
    assert identity.key(here) == identity.key(there)


def test_sets_are_one_row_of_means_and_each_is_compared_with_its_own_models():
    alone = of_sets("individual", (0.8, 0.5))
    merged = of_sets("ties", (0.4, 0.5))
    built = table.build([*alone, *merged])
    row = built.rows[1]
    assert len(built.rows) == 2
    assert row.average == pytest.approx(45)
    assert row.deviation == pytest.approx(stdev([40, 50]))
    assert row.normalised == pytest.approx(100 * (0.4 / 0.8 + 0.5 / 0.5) / 2)
    assert row.settings == {}


def test_the_interval_covers_sets_and_the_caption_says_so(tmp_path):
    plain, ours = (
        of_sets("ties", (0.5,) * 3),
        of_sets("ties", (0.6, 0.6, 0.3), tadrop={}),
    )
    for one in (*plain, *ours):
        right = round(100 * one["scores"][0]["value"])
        write(tmp_path, one, {"mnist": bits(right), "svhn": bits(right)})
    built = table.build([*plain, *ours], compare=paired(tmp_path))
    row = built.rows[1]
    assert row.difference == pytest.approx(0)
    assert row.interval[0] < -15
    assert row.interval[1] > 9
    assert "Mean over 3 sets of models" in built.caption
    assert "over sets of models, tasks and test examples" in built.caption
    assert "sets of models" not in table.build(plain[:1]).caption


def test_rows_of_other_sets_have_no_interval(tmp_path):
    plain, ours = of_sets("ties", (0.5, 0.5)), of_sets("ties", (0.6, 0.6), tadrop={})
    for one in (*plain, *ours):
        write(tmp_path, one, {"mnist": bits(50), "svhn": bits(50)})
    assert paired(tmp_path)(ours, plain) is not None
    assert paired(tmp_path)(ours, plain[:1]) is None
