"""Sentences about tables say what the tables' values say, and count what is beyond doubt."""

from dataclasses import replace

import pytest

from tadrop.results import findings, table
from tadrop.results.intervals import side
from tests import records as hand


def made(*changes):
    """TIES plain and with TADrop, the second row changed in turn; one table."""
    built = table.build([hand.record("ties"), hand.record("ties", tadrop={})])
    plain, adaptive = built.rows
    rows = [plain]
    rows += [replace(adaptive, **change) for change in changes]
    return replace(built, rows=tuple(rows))


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.1, 0.2), 1),
        ((0.0, 0.2), 0),
        ((0.04, 0.2), 0),
        ((-0.2, -0.1), -1),
        ((-0.2, -0.04), 0),
        ((-0.2, 0.2), 0),
    ],
)
def test_an_interval_counts_as_it_is_printed(interval, expected):
    assert side(interval) == expected


def test_what_is_ahead_and_behind_is_counted_and_named():
    one = made(
        {"versus": 0.8, "versus_interval": (0.6, 1.0)},
        {"versus": -0.4, "versus_interval": (-0.6, -0.3)},
        {"versus": -0.1, "versus_interval": (-0.2, -0.04)},
    )
    (sentence,) = findings.against_control(one)
    assert sentence == (
        "Against its uniform control at equal density TADrop is ahead with 1 of 3 "
        "(TIES +0.8 [0.6, 1.0]); behind with 1 (TIES -0.4 [-0.6, -0.3])."
    )


def test_settings_tell_a_method_s_rows_apart():
    one = made(
        {
            "versus": 0.8,
            "versus_interval": (0.6, 1.0),
            "settings": {"tadrop.norm": "l1"},
        }
    )
    (sentence,) = findings.against_control(one)
    assert "(TIES (norm=l1) +0.8 [0.6, 1.0])" in sentence


def test_the_best_rows_leave_out_variants_and_what_saw_test_inputs():
    references = [hand.record("individual"), hand.record("pretrained", (0.5, 0.3))]
    rows = [hand.record("ties", (0.6, 0.6)), hand.record("emr", (0.7, 0.7))]
    built = table.with_data(table.build([*references, *rows]))
    first = next(findings.best(built))
    assert first.startswith("Best without TADrop: EMR 70.0, TIES 60.0 (Individual ")
    changed = [
        replace(row, data=("test inputs",)) if row.method == "emr" else row
        for row in built.rows
    ]
    first = next(findings.best(replace(built, rows=tuple(changed))))
    assert first.startswith("Best without TADrop: TIES 60.0 (")


def test_a_table_that_says_nothing_has_no_finding():
    built = table.build([hand.record("ties")])
    assert findings.findings({"alone": built}) == []


def test_the_page_links_every_table_it_speaks_of():
    one = made({"difference": 1.0, "interval": (0.5, 1.5)})
    text = findings.markdown(findings.findings({"demo": one}))
    assert "](demo.md) (demo)\n    - Against the same row without it TADrop" in text
