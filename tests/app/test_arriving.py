"""arrival=true as a command: what it records, what it refuses, that it goes on."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tadrop.app.runs import arriving
from tadrop.results import record

ROOT = Path(__file__).parents[2]
WORDS = (
    *("run", "merge=ties", "tadrop=on", "arrival=true"),
    *("tasks.names=[hebrew,braille,math,arabic]", "limit=20"),
)
VARYING = ("seconds", "peak_bytes", "code")


def started(folder, *words):
    places = [f"paths.records={folder}/records", f"paths.cache={folder}/cache"]
    return subprocess.Popen(
        [sys.executable, "-m", "tadrop", *WORDS, *places, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def made(folder):
    """The record of the run, without what varies."""
    for path in (folder / "records").glob("*.json"):
        read = record.read(path)
        if "arrival" in read:
            return {name: read[name] for name in read if name not in VARYING}
    raise AssertionError("no record of arrivals")


@pytest.mark.slow
def test_a_run_that_is_killed_between_arrivals_goes_on(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    process = started(whole)
    assert process.communicate()[1] is not None
    assert process.returncode == 0
    expected = made(whole)
    arrival = expected["arrival"]
    assert sorted(arrival["order"]) == ["arabic", "braille", "hebrew", "math"]
    assert [len(step) for step in arrival["steps"]] == [1, 2, 3, 4]
    for step, average in zip(arrival["steps"], arrival["averages"], strict=True):
        assert average == pytest.approx(sum(step.values()) / len(step))
    last, order = arrival["steps"][-1], arrival["order"]
    losses = [last[t] - arrival["steps"][n][t] for n, t in enumerate(order[:-1])]
    assert arrival["backward"] == pytest.approx(sum(losses) / 3)
    assert last == {score["task"]: score["value"] for score in expected["scores"]}
    assert not list((whole / "cache" / "arrivals").iterdir())

    process = started(killed)
    states = killed / "cache" / "arrivals"
    while not list(states.glob("*.safetensors")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not any("arrival" in path.read_text() for path in _records(killed))
    process = started(killed)
    process.communicate()
    assert process.returncode == 0
    assert made(killed) == expected


def _records(folder):
    paths = (folder / "records").glob("*.json")
    return [path for path in paths if "steps" in json.dumps(record.read(path))]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["merge=tsv_m"],
            "arrival=true: merge=tsv_m needs all task vectors at once; rows that take "
            "them one by one say `arriving` (+board=arrival has them)",
        ),
        (
            ["select=grid"],
            "arrival=true with select=grid: a scale is chosen where all tasks are "
            "there; say select=fixed",
        ),
        (
            ["merge=emr", "merge.method.rescale.rule=least_squares"],
            "rule is 'least_squares'; where tasks arrive one by one it must be paper or "
            "code",
        ),
    ],
)
def test_what_cannot_come_one_by_one(tmp_path, words, said):
    process = started(tmp_path, *words)
    err = process.communicate()[1]
    assert process.returncode == 1
    assert err.splitlines()[-1] == f"error: {said}"


def test_a_state_that_was_damaged_is_begun_anew(tmp_path):
    kept = arriving.Arrivals(["a", "b"], {"w": {"sum": torch.ones(3)}}, [{"a": 0.5}])
    path = tmp_path / "state.safetensors"
    arriving._write(path, kept)
    assert arriving._read(path, ["a", "b"]).steps == [{"a": 0.5}]
    assert arriving._read(path, ["b", "a"]).steps == []
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1
    path.write_bytes(raw)
    assert arriving._read(path, ["a", "b"]).states == {}
