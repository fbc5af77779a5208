"""Records and side files that are damaged, short or made to do harm: one line each that
names the file, the node and the remedy.
"""

import copy
import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tadrop.app.verbs import records as cli
from tadrop.errors import TadropError
from tadrop.results import record
from tests import records as hand

ROOT = Path(__file__).parents[2]
BITS = {"mnist": np.ones(100, bool), "svhn": np.zeros(100, bool)}
REMEDY = "delete it or run again with overwrite=true"


def placed(folder, node=None, value=None, remove=False, stem=None):
    """A record in a folder with one node changed or taken away; returns its file."""
    made = copy.deepcopy(hand.record("ties"))
    if node:
        *parents, last = node
        place = made
        for word in parents:
            place = place[word]
        if remove:
            del place[last]
        else:
            place[last] = value
    file = folder / f"{stem or hand.record('ties')['key']}.json"
    file.write_text(json.dumps(made))
    return file


def refusal(file):
    with pytest.raises(TadropError) as error:
        record.read(file)
    text = str(error.value)
    assert text.startswith(f"{file}: ")
    assert "\n" not in text
    return text.removeprefix(f"{file}: ")


@pytest.mark.parametrize(
    ("node", "value", "says"),
    [
        (("scores", 0, "value"), float("nan"), "not a readable record"),
        (("scores", 0, "count"), -3, "scores.0.count: input should be greater"),
        (
            ("scores", 0, "count"),
            2.5,
            "scores.0.count: input should be a valid integer",
        ),
        (("scores", 1, "task"), "mnist", "a task has two scores"),
        (("scores", 0, "task"), "a\x1b[2Jb", "scores.0.task: string should match"),
        (("scores",), [], "scores: list should have at least 1 item"),
        (
            ("scores", 0, "value"),
            "0.9",
            "scores.0.value: input should be a valid number",
        ),
        (("seconds", "load"), -1.0, "seconds.load: input should be greater"),
        (("stored_bytes",), -1, "stored_bytes: input should be greater"),
        (("density",), 1.5, "density: input should be less than or equal to 1"),
        (("density",), None, "density: input should be a valid number"),
        (("label",), "two\nlines", "label: string should match"),
        (("config", "tasks", "names"), [], "config.tasks.names: list should have"),
        (("selection", "scale"), None, "selection.scale: input should be a valid"),
        (("config",), "no", "config: input should be a valid dictionary"),
    ],
)
def test_a_node_that_no_record_has(tmp_path, node, value, says):
    assert says in refusal(placed(tmp_path, node, value))


NEEDED = [
    *[("config",), ("protocol",), ("selection",), ("scores",), ("key",), ("label",)],
    *[("density",), ("stored_bytes",), ("checkpoints",), ("data",), ("seconds",)],
    *[("code",), ("config", "merge"), ("config", "tadrop"), ("config", "before")],
    *[
        ("config", "model", "name"),
        ("config", "merge", "title"),
        ("scores", 0, "count"),
    ],
]


@pytest.mark.parametrize("node", NEEDED, ids=str)
def test_a_node_that_is_missing_is_named(tmp_path, node):
    text = refusal(placed(tmp_path, node, remove=True))
    assert f"({'.'.join(map(str, node))}: field required); {REMEDY}" in text


@pytest.mark.parametrize("old", [{"format": 1}, {"format": 1, "key": "x"}, {}, []])
def test_records_of_another_format(tmp_path, old):
    file = tmp_path / "0123456789abcdef.json"
    file.write_text(json.dumps(old))
    assert refusal(file) == f"not a record of format 2; {REMEDY}"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[" * 100_000, b'{"a": \xff}', b"9" * 5000, b'{"format": NaN}', b"\0"],
    ids=range(7),
)
def test_files_that_hold_no_json(tmp_path, data):
    file = tmp_path / "0123456789abcdef.json"
    file.write_bytes(data)
    assert refusal(file).startswith("not a readable record (")


def test_numbers_that_overflow_are_infinite(tmp_path):
    file = placed(tmp_path, ("peak_bytes",), 1)
    file.write_text(file.read_text().replace('"peak_bytes": 1', '"peak_bytes": 1e999'))
    assert "(peak_bytes: not a finite number)" in refusal(file)


def test_a_record_in_the_size_of_a_disk_is_not_read(tmp_path):
    file = tmp_path / "0123456789abcdef.json"
    with file.open("wb") as opened:
        opened.truncate(10 << 30)
    assert "larger than 64 MB" in refusal(file)


def test_no_record_is_written_with_a_nan(tmp_path):
    made = hand.record("ties", (0.9, float("nan")))
    with pytest.raises(
        TadropError, match=r"of TIES: scores\.1\.value is not a finite"
    ) as e:
        record.write(tmp_path, made)
    assert "\n" not in str(e.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["../victim", "..", "other", "/etc/passwd"])
def test_a_key_reaches_no_file_but_its_own(tmp_path, key, monkeypatch):
    folder = tmp_path / "records"
    folder.mkdir()
    victim = tmp_path / "victim.json"
    victim.write_text("precious")
    placed(folder, ("key",), key)
    words = ["records", "--records", str(folder), "prune", "merge.name=ties", "--yes"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert "which is not the file's name" in str(stopped.value.code)
    assert victim.read_text() == "precious"
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("word", ["../victim", "*", "[a-z", "../"])
def test_show_takes_a_key_and_no_pattern(tmp_path, word):
    (tmp_path / "records").mkdir()
    placed(tmp_path, stem="victim")
    placed(tmp_path / "records")
    with pytest.raises(TadropError, match="0 records in"):
        cli.one_of(tmp_path / "records", word)


def damaged(folder, change):
    """A record's per-example values after a change of the file's bytes."""
    made = hand.record("ties")
    hand.write(folder, made, BITS)
    file = folder / f"{made['key']}.correct.npz"
    change(file)
    with pytest.raises(TadropError) as error:
        record.read_correct(folder, made)
    text = str(error.value)
    assert text.startswith(f"{file}: damaged (")
    assert text.endswith("run it again with overwrite=true")
    assert "\n" not in text
    return text


def arrays(**values):
    def write(file):
        with file.open("wb") as opened:
            np.savez(opened, **values)

    return write


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (arrays(mnist=np.zeros(12, "u1")), "'mnist.npy' does not hold 100 values"),
        (arrays(mnist=np.zeros(14, "u1")), "'mnist.npy' does not hold 100 values"),
        (arrays(mnist=np.zeros(13, "i1")), "'mnist.npy' does not hold 100 values"),
        (arrays(mnist=np.zeros((13, 1), "u1")), "does not hold 100 values"),
        (arrays(other=np.zeros(13, "u1")), "task 'other' has no score"),
        (arrays(mnist=np.zeros(99_999, "u1")), "does not hold 100 values"),
        (lambda file: file.write_bytes(b"no zip"), "File is not a zip file"),
        (lambda file: file.write_bytes(file.read_bytes()[:-9]), "not a zip file"),
    ],
)
def test_per_example_values_that_are_not_whole(tmp_path, change, says):
    assert says in damaged(tmp_path, change)


def test_every_byte_of_the_values_is_held_by_a_sum(tmp_path):
    made = hand.record("ties")
    hand.write(tmp_path, made, BITS)
    file = tmp_path / f"{made['key']}.correct.npz"
    whole, wrong = file.read_bytes(), []
    right = record.read_correct(tmp_path, made)
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 0x55
        file.write_bytes(data)
        try:
            read = record.read_correct(tmp_path, made)
        except TadropError:
            continue
        if any(not np.array_equal(read[task], right[task]) for task in read):
            wrong.append(place)
    assert wrong == []


def test_a_bomb_of_values_is_not_unpacked(tmp_path):
    def bomb(file):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("mnist.npy", bytes(300 << 20))

    assert "does not hold 100 values" in damaged(tmp_path, bomb)


def test_values_are_never_pickles(tmp_path):
    def objects(file):
        held = io.BytesIO()
        np.save(held, np.array([None] * 1), allow_pickle=True)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("mnist.npy", held.getvalue())

    assert "allow_pickle=False" in damaged(tmp_path, objects)


ROWS = "task,tensor,size,ratio,sparsity,scale\n"
GOOD = ROWS + "a,w,4,,0.5,1\na,b,4,,0.5,1\nc,w,4,,0.5,1\nc,b,4,,0.5,1\n"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"no gzip", "Not a gzipped file"),
        (gzip.compress(GOOD.encode())[:-9], "ended before the end-of-stream"),
        (gzip.compress(GOOD.encode())[:20], "ended before the end-of-stream"),
        (gzip.compress(b""), "No columns to parse"),
        (gzip.compress(ROWS.encode()), "is a finite number"),
        (gzip.compress(GOOD[:-13].encode()), "one row for every tensor of every task"),
        (
            gzip.compress(GOOD.replace("0.5", "nan").encode()),
            "every sparsity is a finite",
        ),
        (gzip.compress(GOOD.replace("size", "bytes").encode()), "no column 'size'"),
        (gzip.compress((GOOD + "a,w,4,,0.5,1\n").encode()), "one row for every tensor"),
    ],
    ids=range(9),
)
def test_tables_of_tensors_that_are_not_whole(tmp_path, data, says):
    file = tmp_path / "k.tensors.csv.gz"
    file.write_bytes(data)
    with pytest.raises(TadropError) as error:
        record.read_tensors(tmp_path, "k")
    assert str(error.value).startswith(f"{file}: damaged (")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bomb_of_tensors_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("tadrop.results.store.sides.MOST_TEXT", 1_000_000)
    (tmp_path / "k.tensors.csv.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(TadropError, match="larger than 1 MB"):
        record.read_tensors(tmp_path, "k")


def test_all_records_of_the_project_are_whole(repository):
    folder = repository / "results" / "records"
    for one in record.read_all(folder):
        if (folder / f"{one['key']}.correct.npz").exists():
            record.read_correct(folder, one)


def test_what_a_terminal_obeys_is_told_and_not_done(tmp_path):
    folder = tmp_path / "a\x1b]0;title\x07b\nc"
    folder.mkdir()
    words = [sys.executable, "-m", "tadrop", "records", "--records", str(folder)]
    done = subprocess.run(
        [*words, "list"], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "\x1b" not in done.stdout + done.stderr
    assert "\x07" not in done.stdout + done.stderr
    assert done.stdout.endswith("a\\x1b]0;title\\x07b\\nc\n")
    words = [*words[:-1], f"{folder}/none", "list"]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.endswith("b\\nc/none: no such folder of records\n")
    assert "\x1b" not in done.stderr
