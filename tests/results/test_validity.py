"""How alike two tables rank methods, against counting by hand, and the page that says it."""

from dataclasses import replace
from itertools import combinations
from math import sqrt
from statistics import mean

import pytest

from tadrop.results import published, table
from tadrop.results.figures.validity import scatter
from tadrop.results.published import Published
from tadrop.results.row import Row
from tadrop.results.validity import page
from tadrop.results.validity.agreement import agreement
from tadrop.results.validity.suites import own_suites, published_suites
from tests import records as hand

ONE = {"average": 60.0, "ties": 70.0, "emr": 90.0, "pcb": 75.0, "tsv_m": 85.0}
OTHER = {"average": 50.0, "ties": 49.0, "emr": 80.0, "pcb": 81.0, "iso_c": 77.0}
OTHER |= {"tsv_m": 70.0}


def counted(one, other):
    """Kendall's tau by its definition, for values without ties, and Pearson's r."""
    names = sorted(one.keys() & other.keys())
    signs = []
    for left, right in combinations(names, 2):
        product = (one[left] - one[right]) * (other[left] - other[right])
        signs.append(1 if product > 0 else -1)
    xs, ys = [one[name] for name in names], [other[name] for name in names]
    x, y = mean(xs), mean(ys)
    both = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    alone = sum((a - x) ** 2 for a in xs) * sum((b - y) ** 2 for b in ys)
    return mean(signs), both / sqrt(alone)


def test_tau_and_r_are_those_of_their_definitions():
    found = agreement(ONE, OTHER)
    assert found.names == ("emr", "tsv_m", "pcb", "ties", "average")
    assert (found.tau, found.r) == pytest.approx(counted(ONE, OTHER))
    assert found.tau == pytest.approx(0.4)


def test_intervals_hold_the_values_and_are_the_same_every_time():
    found = agreement(ONE, OTHER)
    assert found.tau_interval[0] <= found.tau <= found.tau_interval[1]
    assert found.r_interval[0] <= found.r <= found.r_interval[1]
    assert agreement(ONE, OTHER).tau_interval == found.tau_interval
    assert agreement(ONE, ONE).tau_interval == pytest.approx((1.0, 1.0))


def test_too_few_methods_say_nothing():
    assert agreement(ONE, OTHER, without=["emr"]).names[0] == "tsv_m"
    assert agreement(ONE, OTHER, without=["emr", "ties"]) is None


def test_methods_that_are_ranked_most_differently_come_first():
    apart = agreement(ONE, OTHER).apart()
    assert apart[0] == ("pcb", 3, 1)
    assert sorted(apart)[-1] == ("tsv_m", 2, 3)


def fact(merge, average, model="vit_b32", tasks="vision8", checkpoints="A"):
    summaries = {} if average is None else {"average": average}
    return Published(
        model, tasks, checkpoints, merge, merge, "", "paper", "", {}, summaries
    )


def ranking(averages, tasks=("a", "b")):
    rows = []
    for name, value in averages.items():
        rows.append(Row(name, name.upper(), {}, value, density=1.0))
    return table.Table(f"tiny, {len(tasks)} tasks", tuple(tasks), tuple(rows))


def test_a_tuned_row_stands_beside_a_number_that_was_tuned_and_no_other():
    """Of methods with several published numbers only where all of them were tuned."""
    eight = tuple("abcdefgh")
    fixed = {"average": 50.0, "ties": 60.0, "tsv_m": 70.0, "iso_c": 71.0, "emr": 90.0}
    best = {"ties": 65.0, "tsv_m": 75.0, "iso_c": 76.0}
    tables = {"leaderboard_x": ranking(fixed, eight), "tuned_x": ranking(best, eight)}
    tables["tuned_y"] = ranking({"ties": 1.0})
    (ours,) = own_suites(tables)
    assert ours.tuned == best
    chosen = {"selected": "validation"}
    facts = [fact("average", 66.0), fact("ties", 70.0), fact("emr", 88.0)]
    facts += [replace(fact("tsv_m", 86.0), **chosen), fact("iso_c", 85.0)]
    facts += [replace(fact("iso_c", 87.0), **chosen)]
    (theirs,) = published_suites(facts)
    assert theirs.chosen == {"tsv_m"}
    assert ours.beside(theirs) == fixed | {"tsv_m": 75.0}
    (pair,) = page.compared([ours], [theirs])
    assert pair.whole.one[pair.whole.names.index("tsv_m")] == 75.0


def test_published_numbers_of_one_method_are_averaged_and_levels_stand_apart():
    facts = [fact("ties", 70.0), fact("ties", 74.0), fact("emr", 88.0)]
    facts += [fact("pretrained", 48.0), fact("individual", 90.0), fact("", 60.0)]
    facts += [fact("pcb", None), fact("ties", 71.0, model="gpt2", tasks="glue7")]
    (suite,) = published_suites(facts)
    assert suite.name == "ViT-B/32, A, 8 tasks"
    assert suite.averages == {"ties": 72.0, "emr": 88.0}
    assert suite.share("emr") == pytest.approx(40 / 42)
    assert suite.share("pcb") is None


def test_published_tables_are_in_order_of_tasks_and_backbones():
    facts = []
    for model, tasks in (
        ("vit_l14", "vision8"),
        ("vit_b32", "vision14"),
        ("vit_b32", "vision8"),
    ):
        facts.append(fact("ties", 70.0, model=model, tasks=tasks))
    names = [suite.name for suite in published_suites(facts)]
    assert names == [
        "ViT-B/32, A, 8 tasks",
        "ViT-L/14, A, 8 tasks",
        "ViT-B/32, A, 14 tasks",
    ]


@pytest.fixture
def board():
    """A leaderboard of five methods on two tasks, one of them with TADrop too."""
    made = table.build([hand.record("ties"), hand.record("ties", tadrop={})])
    plain, adaptive = made.rows
    rows = []
    for name, average in ONE.items():
        rows.append(replace(plain, method=name, title=name.upper(), average=average))
        rows.append(replace(adaptive, method=name, title=name.upper(), average=0.0))
    return replace(
        made, title="ours, 8 tasks", tasks=tuple("abcdefgh"), rows=tuple(rows)
    )


def test_a_suite_of_ours_is_the_plain_rows_of_a_leaderboard(board):
    assert own_suites({"table_x": board}) == []
    (suite,) = own_suites({"leaderboard_x": board})
    assert (suite.name, suite.averages) == ("ours, 8 tasks", ONE)


def test_the_page_says_how_alike_they_are_and_where_not(board):
    facts = [fact(name, average) for name, average in OTHER.items()]
    facts += [fact(name, average, checkpoints="B") for name, average in OTHER.items()]
    comparison = page.of({"leaderboard_x": board}, facts)
    text = page.markdown(comparison)
    assert "| ViT-B/32, A, 8 tasks | 5 | 0.40 [" in text
    assert (
        "| ViT-B/32, A, 8 tasks | ViT-B/32, B, 8 tasks | 6 | 1.00 [1.00, 1.00]" in text
    )
    assert "- ViT-B/32, A, 8 tasks: PCB 3 and 1, " in text
    assert "| ours | 8 |" not in text
    (panel, *_) = scatter(comparison.shown(), comparison.title).axes
    assert panel.get_title().startswith("tau 0.40")


def test_shares_are_shown_of_tables_that_say_both_levels(board):
    facts = [fact("ties", 72.0), fact("pretrained", 48.0), fact("individual", 90.0)]
    text = page.markdown(page.of({"leaderboard_x": board}, facts))
    assert "| ViT-B/32, A | 8 |  |  | 57 |" in text


def test_the_committed_facts_agree_with_one_another():
    suites = published_suites(published.read(published.FOLDER))
    pairs = page.among([suite for suite in suites if suite.tasks == 8])
    largest = max(pairs, key=lambda pair: len(pair.whole.names))
    assert largest.one.checkpoints == largest.other.checkpoints == "Ilharco et al."
    assert largest.whole.tau == pytest.approx(
        counted(largest.one.averages, largest.other.averages)[0], abs=0.05
    )
    assert largest.whole.tau > 0.8
