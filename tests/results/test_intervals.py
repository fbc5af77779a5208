"""The paired bootstrap, against exact answers, plain resampling and its promise of coverage."""

import numpy as np
import pytest

from tadrop.results import formats, table
from tadrop.results.columns import headings
from tadrop.results.intervals import bootstrap, crossed_bootstrap, paired
from tests.records import record, write


def rng(seed=0):
    return np.random.default_rng(seed)


def test_equal_runs_differ_by_exactly_nothing():
    assert bootstrap([np.zeros(50), np.zeros(10)], rng()) == (0.0, 0.0)


def test_a_certain_gain_has_no_width():
    assert bootstrap([np.ones(50)], rng()) == (1.0, 1.0)


def test_against_the_normal_interval_of_a_large_sample():
    difference = rng(1).choice([-1, 0, 1], size=4000, p=[0.05, 0.8, 0.15])
    low, high = bootstrap([difference], rng())
    half = 1.96 * difference.std() / np.sqrt(len(difference))
    assert low == pytest.approx(difference.mean() - half, abs=0.002)
    assert high == pytest.approx(difference.mean() + half, abs=0.002)


def test_multinomial_draws_are_the_slow_resampling_of_examples():
    differences = [
        rng(2).choice([-1.0, 0, 1], size=60),
        rng(3).choice([-1 / 3, 0, 2 / 3], size=40),
    ]
    slow_rng = rng(4)
    slow = [
        np.mean(
            [
                slow_rng.choice(difference, len(difference)).mean()
                for difference in differences
            ]
        )
        for _ in range(4000)
    ]
    expected = np.quantile(slow, [0.025, 0.975])
    assert bootstrap(differences, rng()) == pytest.approx(tuple(expected), abs=0.015)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    chances = rng(5)
    hits = 0
    for trial in range(200):
        difference = chances.choice([-1, 0, 1], size=200, p=[0.1, 0.7, 0.2])
        low, high = bootstrap([difference], rng(trial), resamples=400)
        hits += low <= 0.1 <= high
    assert 180 <= hits <= 199


def test_tasks_weigh_the_same_whatever_their_size():
    low, high = bootstrap([np.ones(1000), np.zeros(10)], rng())
    assert (low, high) == (0.5, 0.5)


def bits(right, count=100):
    return np.arange(count) < right


def test_the_table_shows_the_interval_of_tadrop_s_gain_and_of_its_gain_over_the_control(
    tmp_path,
):
    base, ours = record("ties", (0.5, 0.7)), record("ties", (0.8, 0.7), tadrop={})
    control = record("ties", (0.8, 0.7), tadrop={"assign": "uniform"})
    write(tmp_path, base, {"mnist": bits(50), "svhn": bits(70)})
    write(tmp_path, ours, {"mnist": bits(80), "svhn": bits(70)})
    write(tmp_path, control, {"mnist": bits(80), "svhn": bits(70)})
    built = table.build([base, ours, control], compare=paired(tmp_path))
    row = next(row for row in built.rows if formats.indented(row) == "  + TADrop")
    assert row.difference == pytest.approx(15)
    assert 9 < row.interval[0] < 15 < row.interval[1] < 21
    assert (row.versus, row.versus_interval) == (pytest.approx(0), (0, 0))
    cells = dict(zip(headings(built), formats.texts(built, row), strict=True))
    assert cells["diff"] == f"+15.0 [{row.interval[0]:.1f}, {row.interval[1]:.1f}]"
    again = table.build([base, ours, control], compare=paired(tmp_path))
    assert again == built


def test_seeds_are_averaged_example_by_example_and_one_run_stands_for_all_where_there_is_no_chance(
    tmp_path,
):
    base = record("ties", (0.5, 0.5))
    write(tmp_path, base, {"mnist": bits(50), "svhn": bits(50)})
    group = [
        record(
            "ties", (0.6, 0.5), tadrop={"assign": "shuffled", "seed": seed}, seed=seed
        )
        for seed in (0, 1)
    ]
    write(tmp_path, group[0], {"mnist": bits(60), "svhn": bits(50)})
    write(tmp_path, group[1], {"mnist": bits(40), "svhn": bits(50)})
    low, high = paired(tmp_path)(group, [base])
    assert low < 0 < high
    assert paired(tmp_path)([group[0]], [base])[0] > 0


def test_the_interval_does_not_depend_on_what_records_are_called(tmp_path):
    base, ours = record("ties", (0.5, 0.5)), record("ties", (0.6, 0.5), tadrop={})
    found = []
    for prefix in ("", "f"):
        pair = []
        for one, right in ((ours, 60), (base, 50)):
            renamed = one | {"key": prefix + one["key"][len(prefix) :]}
            write(tmp_path, renamed, {"mnist": bits(right), "svhn": bits(50)})
            pair.append(renamed)
        found.append(paired(tmp_path)(pair[:1], pair[1:]))
    assert found[0] == found[1]
    assert found[0][0] > 0


def test_no_interval_where_the_examples_are_not_the_same(tmp_path):
    base, ours = record("ties"), record("ties", tadrop={})
    write(tmp_path, base, {"mnist": bits(50), "svhn": bits(70)})
    assert paired(tmp_path)([ours], [base]) is None
    write(
        tmp_path,
        ours | {"data": {"mnist/test": "other", "svhn/test": "f" * 16}},
        {"mnist": bits(1), "svhn": bits(2)},
    )
    other = ours | {"data": {"mnist/test": "other", "svhn/test": "f" * 16}}
    assert paired(tmp_path)([other], [base]) is None


def test_a_caption_says_how_many_examples_a_limit_left():
    limited = record("ties")
    limited["protocol"] |= {"limit": 100}
    assert (
        "test split, 200 examples (at most 100 a task), protocol hand-made."
        in table.build([limited]).caption
    )
    assert "test split, 200 examples, protocol" in table.build([record("ties")]).caption


def slow_crossed(differences, resamples, chances):
    """The crossed bootstrap, drawn example by example."""
    totals = []
    sets = differences[0].shape[1]
    for _ in range(resamples):
        chosen = chances.integers(sets, size=sets)
        resampled = [
            difference[chances.integers(len(difference), size=len(difference))]
            for difference in differences
        ]
        tasks = chances.integers(len(differences), size=len(differences))
        means = [resampled[task][:, chosen].mean() for task in tasks]
        totals.append(np.mean(means))
    return np.quantile(totals, [0.025, 0.975])


def test_the_crossed_bootstrap_is_the_slow_one():
    chances = rng(6)
    differences = [
        chances.choice([-1.0, 0, 1], size=(50, 3), p=[0.1, 0.5, 0.4])
        + np.array([0.0, 0.2, -0.1]),
        chances.choice([-1.0, 0, 1], size=(30, 3), p=[0.4, 0.5, 0.1]),
        chances.choice([-1.0, 0, 1], size=(40, 3)),
    ]
    slow = slow_crossed(differences, 6000, rng(7))
    assert crossed_bootstrap(differences, rng()) == pytest.approx(tuple(slow), abs=0.03)


def test_sets_that_agree_with_tasks_that_agree_have_no_width():
    differences = [np.ones((20, 3)), np.ones((10, 3))]
    assert crossed_bootstrap(differences, rng()) == pytest.approx((1.0, 1.0))


def test_what_varies_between_sets_alone_is_seen():
    """A gain of 1 with two sets of three and of -2 with the third: its mean is 0."""
    differences = [np.tile([1.0, 1.0, -2.0], (20, 1))] * 2
    low, high = crossed_bootstrap(differences, rng())
    assert (low, high) == pytest.approx((-2.0, 1.0))
    assert bootstrap([np.mean(each, axis=1) for each in differences], rng()) == (0, 0)
