"""Traces of searches: a search that is killed goes on, and one that was made is read."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from baselines import nps, search
from tadrop.evaluation.traces import Trace
from tests import tiny

ROOT = Path(__file__).parents[2]


def searched(path, value, evaluations=50, seed=1):
    trace = Trace(path)
    return search.maximise(
        lambda point: trace.value(point, value), [1.0, 1.0], 0.3, evaluations, seed
    )


def hill(point):
    return -sum(x * x for x in point)


def refused(point):
    raise AssertionError(f"evaluated anew: {point}")


def test_a_trace_is_the_search_again_without_an_evaluation(tmp_path):
    path = tmp_path / "trace.jsonl"
    first = searched(path, hill)
    assert first == searched(None, hill)
    assert len(path.read_text().splitlines()) == first.evaluations == len(first.trace)
    assert searched(path, refused) == first


@pytest.mark.parametrize("left", ["", "[[1.0,", "[[0.1, 0.2], 3", "\0\0", "[1, 2]\n"])
def test_a_search_goes_on_behind_its_last_whole_line(tmp_path, left):
    path = tmp_path / "trace.jsonl"
    whole = searched(path, hill)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:11]) + left)
    evaluated = []

    def value(point):
        evaluated.append(point)
        return hill(point)

    assert searched(path, value) == whole
    assert len(evaluated) == whole.evaluations - 11
    assert path.read_text() == "".join(lines)


def test_a_longer_search_begins_with_the_shorter_one(tmp_path):
    path = tmp_path / "trace.jsonl"
    short = searched(path, hill, evaluations=20)
    longer = searched(path, hill, evaluations=60)
    assert longer == searched(None, hill, evaluations=60)
    assert longer.trace[: len(short.trace)] == short.trace


def test_points_of_another_search_are_forgotten(tmp_path):
    path = tmp_path / "trace.jsonl"
    searched(path, hill, seed=1)
    assert searched(path, hill, seed=2) == searched(None, hill, seed=2)
    assert searched(path, refused, seed=2) == searched(None, hill, seed=2)


@pytest.fixture
def cached(tmp_path):
    return replace(tiny.bench(tmp_path), cache=tmp_path / "cache")


def weighed(bench, stream=None, **changed):
    knobs = {"split": "validation", "seed": 0, "bands": 4, "evaluations": 30}
    knobs |= {"sigma": 0.5} | changed
    return nps.weigh(stream or tiny.stream(bench), bench, lambda: None, **knobs)


def test_bands_are_searched_once_a_task(cached, monkeypatch):
    first = weighed(cached)
    assert len(list((cached.cache / "searches").iterdir())) == 3
    monkeypatch.setattr(type(cached), "score", lambda *words: refused(words))
    assert weighed(cached).found == first.found
    trace = first.found["bands"]["t0"]["trace"]
    assert len(trace) == first.found["bands"]["t0"]["evaluations"] > 20
    assert max(trace) == first.found["bands"]["t0"]["value"]


@pytest.mark.parametrize("changed", [{"seed": 1}, {"sigma": 0.4}, {"bands": 3}])
def test_another_search_has_another_trace(cached, changed):
    weighed(cached)
    assert (
        weighed(cached, **changed).found
        == weighed(replace(cached, cache=None), **changed).found
    )
    assert len(list((cached.cache / "searches").iterdir())) == 6


SLOW = """
import sys, time
from dataclasses import replace
from pathlib import Path
from tests import tiny
from tests.evaluation.test_traces import weighed
folder = Path(sys.argv[1])
bench = replace(tiny.bench(folder), cache=folder / "cache")
plain = type(bench).score
def score(self, *words):
    time.sleep(0.02)
    return plain(self, *words)
type(bench).score = score
weighed(bench)
"""


def test_a_search_that_is_killed_goes_on_where_it_was(cached, tmp_path, monkeypatch):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    folder = cached.cache / "searches"

    def count():
        return sum(
            len(path.read_text().splitlines()) for path in folder.glob("*.jsonl")
        )

    while count() < 40:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    known, calls, plain = count(), [], type(cached).score

    def score(self, *words):
        calls.append(words)
        return plain(self, *words)

    monkeypatch.setattr(type(cached), "score", score)
    found = weighed(cached).found
    total = sum(optimum["evaluations"] for optimum in found["bands"].values())
    # The line that the kill may have cut in two is evaluated again.
    assert total - known <= len(calls) <= total - known + 1
    assert found == weighed(replace(cached, cache=None)).found
