"""Individual models beside published ones: once a sweep, and marked where they differ."""

import pytest

from tadrop.app import showing


def record(key, value=0.78, limit=None):
    score = {"task": "cola", "value": value, "count": 1000}
    return {
        "key": key,
        "published": {"cola": 76.8},
        "protocol": {"limit": limit},
        "scores": [score],
    }


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(showing, "COMPARED", set())


def test_once_for_the_same_models(capsys):
    for key in ("a", "a", "b", "a"):
        showing.compare(record(key))
    lines = capsys.readouterr().out.splitlines()
    heading = "individual models beside their published accuracy"
    assert lines.count(heading) == 2
    showing.compare({**record("c"), "published": {}})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "limit", "odd"),
    [(0.78, None, True), (0.77, None, False), (0.80, 1000, False), (0.6, 1000, True)],
)
def test_what_differs_is_marked(capsys, value, limit, odd):
    showing.compare(record("a", value, limit))
    line = capsys.readouterr().out.splitlines()[-1]
    assert ("differs: check split" in line) == odd
    assert "76.80" in line
