"""Columns that stand where their rows call for them: arrivals, packed files; and what
TADrop is compared with where it takes the density of a row's own rule.
"""

import pytest

from tadrop.results import formats, identity, table
from tadrop.results.figures.arrivals import accuracy_after_arrivals
from tadrop.results.figures.compression import accuracy_against_bytes, lines
from tests import records as hand


def arrived(seed, backward, averages, tadrop=None):
    made = hand.record("ties", (0.8, 0.6), tadrop, seed, chance=True)
    return made | {"arrival": {"backward": backward, "averages": averages}}


def heading(text):
    return [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")]


def cells(text, line):
    return [cell.strip() for cell in text.splitlines()[line].strip("|").split("|")]


def test_backward_transfer_is_a_mean_over_orders():
    made = [arrived(0, -0.1, [0.9, 0.7]), arrived(1, -0.2, [0.8, 0.7])]
    built = table.build(made)
    (row,) = built.rows
    assert row.backward == pytest.approx(-15)
    assert row.backward_deviation == pytest.approx(50**0.5)
    assert row.arrivals == pytest.approx((85, 70))
    text = formats.markdown(built)
    assert dict(zip(heading(text), cells(text, 4), strict=True))["backward"] == (
        "-15.0 ± 7.1"
    )
    assert "Tasks came one by one" in text
    assert ",85.00/70.00," in formats.csv(built)
    assert accuracy_after_arrivals(built) is not None
    assert accuracy_against_bytes(built) is None


def packed(keep, file, xz, tadrop=None, values=(0.8, 0.6)):
    """A record of a row that keeps a share, packed."""
    whole = hand.config("ties", tadrop)
    if tadrop is not None:
        whole["tadrop"]["density"] = "native"
    whole["sparsify"] = {"keep": keep}
    return hand.record("ties", values) | {
        "key": identity.key(whole),
        "config": identity.settings(whole),
        "stored_bytes": file,
        "found": {"packed": {"file": file, "xz": xz}},
    }


def test_packed_files_have_two_sizes_a_task():
    built = table.build([packed(0.5, 4000, 3000), packed(0.1, 900, 500)])
    text = formats.markdown(built)
    shown = [dict(zip(heading(text), cells(text, 4 + n), strict=True)) for n in (0, 1)]
    assert [(one["stored"], one["xz"]) for one in shown] == [
        ("2 kB", "1.5 kB"),
        ("450 B", "250 B"),
    ]
    assert "bytes_xz" in formats.csv(built)
    (line,) = lines(built)
    assert [row.stored_bytes for row in line.rows] == [900, 4000]
    assert accuracy_against_bytes(built) is not None
    assert accuracy_after_arrivals(built) is None


def test_other_tables_have_neither_column():
    built = table.build([hand.record("ties"), hand.record("ties", tadrop={})])
    for word in ("xz", "backward"):
        assert word not in heading(formats.markdown(built))
        assert word not in formats.csv(built)


def test_tadrop_at_a_rules_density_is_compared_with_that_rule():
    """At keep 0.1 it adds 10 points to the rule's 50, at 0.5 it takes 5 from its 90."""
    made = [
        packed(0.5, 4000, 3000, values=(0.9, 0.9)),
        packed(0.1, 900, 500, values=(0.5, 0.5)),
        packed(0.5, 4000, 3000, {}, values=(0.85, 0.85)),
        packed(0.1, 900, 500, {}, values=(0.6, 0.6)),
    ]
    differences = {}
    for row in table.build(made).rows:
        if row.variant:
            differences[row.settings["sparsify.keep"]] = row.difference
    assert differences == pytest.approx({0.5: -5, 0.1: 10})
