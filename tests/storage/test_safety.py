"""Records survive what happens to sweeps: two workers on one key, a worker killed in the middle, a
full disk.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tadrop.results import record
from tadrop.storage.files import claimed
from tadrop.types import TadropError
from tests import records as hand

ROOT = Path(__file__).parents[2]
BITS = {"mnist": np.ones(100, bool), "svhn": np.zeros(100, bool)}
WRITER = """
import sys
from pathlib import Path
from tests.storage.test_safety import write
print("ready", flush=True)
write(Path(sys.argv[1]), int(sys.argv[2]))
"""


def write(folder, times=1, size=200_000):
    """One record with a large padding, again and again."""
    for _ in range(times):
        hand.write(folder, hand.record("ties") | {"padding": "x" * size}, BITS)


@contextmanager
def another_process(folder, times=1, before=""):
    """A process that has begun to write the record; closed at the end."""
    words = [sys.executable, "-c", before + WRITER, str(folder), str(times)]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process


HOLDER = """
import sys, time
from pathlib import Path
from tadrop.storage.files import claimed
with claimed(Path(sys.argv[1]), Path(sys.argv[2]), lambda: None):
    print("ready", flush=True)
    time.sleep(100)
"""


def test_who_makes_a_file_is_waited_for_and_its_death_frees_it(tmp_path):
    file, waits = tmp_path / "record.json", []
    words = [sys.executable, "-c", HOLDER, str(file), str(tmp_path / "locks")]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "ready\n"
        with claimed(
            tmp_path / "another.json",
            tmp_path / "locks",
            lambda: waits.append("another"),
        ):
            assert not waits

        def kill():
            waits.append("same")
            holder.kill()

        with claimed(file, tmp_path / "locks", kill):
            assert waits == ["same"]
            assert holder.wait() == -signal.SIGKILL


def test_where_no_lock_can_be_nobody_waits(tmp_path):
    (tmp_path / "locks").write_text("a file in the folder's place")
    with claimed(
        tmp_path / "record.json", tmp_path / "locks", lambda: pytest.fail("waits")
    ):
        pass


def test_two_writers_of_one_key_leave_one_whole_record(tmp_path):
    with another_process(tmp_path, times=40) as other:
        while other.poll() is None:
            write(tmp_path)
            for file in tmp_path.glob("[!.]*.json"):
                assert len(json.loads(file.read_text())["padding"]) == 200_000
        assert other.returncode == 0, other.stderr.read()
    assert len(record.read_all(tmp_path)) == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npz"]


def test_a_writer_killed_in_the_middle_leaves_no_half_record_and_the_next_one_succeeds(
    tmp_path,
):
    slow = """
import time
import tadrop.storage.files
def hang(*_):
    print('now', flush=True)
    time.sleep(60)
tadrop.storage.files.Path.replace = hang
"""
    with another_process(tmp_path, before=slow) as other:
        assert other.stdout.readline() == "now\n"
        os.kill(other.pid, signal.SIGKILL)
    assert list(tmp_path.iterdir()), "the temporary file of the killed writer is there"
    assert record.read_all(tmp_path) == []
    write(tmp_path)
    assert len(record.read_all(tmp_path)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits as on Linux")
def test_a_disk_that_takes_no_more_is_an_error_that_names_the_file_and_leaves_nothing(
    tmp_path,
):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    key = hand.record("ties")["key"]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        with pytest.raises(
            TadropError,
            match=rf"{key}\.json: cannot be written .*; nothing is left of it",
        ):
            write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert record.read_all(tmp_path) == []
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TadropError, match=r"file/records/.* cannot be written"):
        write(tmp_path / "file" / "records")
