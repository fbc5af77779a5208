"""The grid of a sweep on validation data: a row for each setting, unset ones too."""

import pytest

from tadrop.app.boards import grid
from tadrop.errors import TadropError
from tests import records as hand


def validated(value, split="validation", **tadrop):
    settings = {"map": "identity", "gamma": 1.0, **tadrop}
    one = hand.record("ties", (value, value), tadrop=settings)
    return one | {"protocol": one["protocol"] | {"split": split}}


def test_a_setting_that_is_not_set_is_a_row_too():
    table = grid.grid(
        [
            validated(0.5),
            validated(0.7, reading="hill"),
            validated(0.6, reading="hill", density=0.2),
        ]
    )
    assert table.index.names == ["density", "reading"]
    rows = dict(zip(table.index, table["mean"], strict=True))
    expected = {("null", "null"): 50.0, ("null", "hill"): 70.0, (0.2, "hill"): 60.0}
    assert rows == pytest.approx(expected)
    text = grid.markdown(table)
    assert "| **null** | **hill** | **70.0** | **70.0** | **0.50** |" in text
    assert (
        "Chosen, by the highest mean over the methods: density = null, reading = hill"
        in text
    )


def test_test_data_choose_nothing():
    with pytest.raises(TadropError, match="is of the test split; choose on validation"):
        grid.grid([validated(0.5, split="test")])
