"""Sweeps that are killed, that run side by side, and many writers of one folder: every
record is whole, and says what an undisturbed run says.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tadrop.results import record

ROOT = Path(__file__).parents[2]
CHANCE = random.Random(17)
SWEEP = (
    *("run", "-m", "merge=ties", "tadrop=off,on"),
    *("tasks.names=[hebrew,braille]", "limit=20"),
)
VARYING = (
    "seconds",
    "peak_bytes",
    "first_key",
    "code",
)  # what no two runs have in common
LATER = 0.3  # seconds, at most, between what is waited for and a kill


def started(folder):
    words = [f"paths.records={folder}/records", f"paths.cache={folder}/cache"]
    return subprocess.Popen(
        [sys.executable, "-m", "tadrop", *SWEEP, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def ended(process):
    _, said = process.communicate(timeout=250)
    assert process.returncode == 0, said


def told(folder):
    """Every record without what varies, and the bytes of side files, by name."""
    whole = {}
    for path in sorted((folder / "records").iterdir()):
        assert not path.name.startswith("."), path
        if path.suffix == ".json":
            made = {**record.read(path)}
            whole[path.name] = {k: v for k, v in made.items() if k not in VARYING}
        else:
            whole[path.name] = path.read_bytes()
    return whole


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    ended(started(folder))
    return told(folder)


def files(folder):
    """How many files there are below a folder, hidden ones too."""
    return sum(path.is_file() for path in folder.rglob("*"))


def killed(process, begun):
    """Kills a process a little after something has begun; says whether it still ran."""
    while process.poll() is None and not begun():
        time.sleep(0.01)
    time.sleep(CHANCE.uniform(0, LATER))
    process.kill()
    process.communicate()
    return process.returncode < 0


@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again(tmp_path, undisturbed):
    records = tmp_path / "records"
    begun = [
        lambda: files(tmp_path / "cache") > 0,
        lambda: files(records) > 0,
        lambda: files(records) > 3,
    ]
    kills = [killed(started(tmp_path), moment) for moment in begun]
    for path in records.glob("[!.]*.json"):
        record.read(path)
    ended(started(tmp_path))
    assert told(tmp_path) == undisturbed
    assert sum(kills) > 1


@pytest.mark.slow
def test_four_sweeps_side_by_side(tmp_path, undisturbed):
    for process in [started(tmp_path) for _ in range(4)]:
        ended(process)
    assert told(tmp_path) == undisturbed


WRITER = """
import sys
from pathlib import Path
import numpy as np
from tests.storage.test_safety import BITS
from tests import records as hand
folder, number = Path(sys.argv[1]), int(sys.argv[2])
for turn in range(8):
    for seed in (number, 99):
        made = hand.record("dare", seed=seed, chance=True) | {"padding": "x" * 50_000}
        hand.write(folder, made, BITS)
"""


@pytest.mark.slow
def test_sixteen_writers_of_one_folder(tmp_path):
    writers = []
    for number in range(16):
        words = [sys.executable, "-c", WRITER, str(tmp_path), str(number)]
        writers.append(subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE))
    for process in writers:
        while process.poll() is None:
            for path in tmp_path.glob("[!.]*.json"):
                assert len(json.loads(path.read_text())["padding"]) == 50_000
            time.sleep(0.1)
        assert process.returncode == 0, process.stderr.read()
        process.stderr.close()
    assert len(record.read_all(tmp_path)) == 17
    assert not list(tmp_path.glob(".*"))
