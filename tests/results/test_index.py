"""Many records: an index answers as the records do, and is never trusted over them."""

import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest

from tadrop.app.boards.recorded import suites
from tadrop.app.verbs import records as cli
from tadrop.errors import TadropError
from tadrop.results import record
from tadrop.results.store import columns, index
from tadrop.results.store.facts import facts
from tests import records as hand

ROOT = Path(__file__).parents[2]
FILTERS = (
    (),
    ("merge.name=ties",),
    ("name=t?es", "tadrop.q_lo!=0.8"),
    ("average>80",),
    ("config.tadrop=null",),
    ("merge.name!=ties",),
    ("nothing.like.it!=1",),
    ("score.svhn<60",),
    ("key=0",),
    ("key=0", "merge.name=ties"),
    ("config.seed=1",),
)


def fill(folder, count):
    """Records that differ in their scores, seeds and rows."""
    folder.mkdir(exist_ok=True)
    rows = list(product(("ties", "dare", "emr"), (None, {}), (0, 1)))
    for number in range(count):
        name, tadrop, seed = rows[number % len(rows)]
        value = (number % 97) / 100
        made = hand.record(name, (value, 0.5), tadrop, seed=seed, chance=True)
        made["key"] = f"{number * 7919 % 65536:016x}"
        (folder / f"{made['key']}.json").write_text(record.text_of(made))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "LEAST", 10)
    monkeypatch.setattr(cli, "FEW", 5)
    fill(tmp_path / "records", 60)
    return tmp_path / "records"


def answers(folder):
    """The keys that pass each filter, as a list and as whole records."""
    found = []
    for filters in FILTERS:
        lines = [line.key for line in cli.lines(folder, filters)]
        whole = [one["key"] for one in cli.select(folder, filters)]
        assert lines == whole, filters
        found.append(lines)
    return found


def test_an_index_answers_as_records_without_one_do(folder, monkeypatch):
    first, again = answers(folder), answers(folder)
    assert (folder / index.FILE).exists()
    (folder / index.FILE).unlink()
    monkeypatch.setattr(index, "LEAST", 10_000)
    without = answers(folder)
    assert not (folder / index.FILE).exists()
    assert first == again == without
    assert len({*map(len, first)}) > 4


def test_an_index_reads_only_what_changed(folder, monkeypatch):
    answers(folder)
    read, files = index.form.read, []
    monkeypatch.setattr(
        index.form, "read", lambda file: files.append(file) or read(file)
    )
    assert len(cli.lines(folder, ("average>0",))) == 60
    assert files == []
    made = hand.record("individual", (0.3, 0.4)) | {"key": "0" * 15 + "f"}
    (folder / f"{made['key']}.json").write_text(record.text_of(made))
    victim = next(folder.glob("*0.json"))
    victim.unlink()
    lines = cli.lines(folder, ())
    assert [file.name for file in files] == [f"{made['key']}.json"]
    assert victim.stem not in [line.key for line in lines]
    assert answers(folder)[0] == [line.key for line in lines]


def test_one_reading_of_the_records_answers_lists_and_filters(folder, monkeypatch):
    cli.lines(folder, ())
    monkeypatch.setattr(index.form, "read", lambda file: pytest.fail(f"read {file}"))
    assert len(cli.lines(folder, ("average>0",))) == 60


def test_what_records_share_is_looked_at_once(folder, monkeypatch):
    looks = []
    look = columns.leaves
    monkeypatch.setattr(
        columns, "leaves", lambda node: looks.append(node) or look(node)
    )
    cli.lines(folder, ())
    shared = [node for node in looks if "config.tasks" in node]
    assert len(shared) == 1


def test_every_fact_of_every_record_is_in_the_index(folder):
    cli.lines(folder, ())
    kept = index._kept(folder / index.FILE)
    rows = {key: {} for key in kept.keys}
    for path, column in kept.columns.items():
        read = column()
        for key, number in zip(kept.keys, read.numbers, strict=True):
            if number != columns.NOWHERE:
                rows[key][path] = read.values[number]
    for key, values in rows.items():
        assert values == facts(record.read(folder / f"{key}.json"))


def test_a_record_that_is_changed_in_place_is_read_again(folder):
    answers(folder)
    file = next(folder.glob("[!.]*.json"))
    text, times = file.read_text(), file.stat()
    file.write_text(text.replace('"label": "', '"label": "X', 1))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    labels = {line.key: line.label for line in cli.lines(folder, ())}
    assert labels[file.stem].startswith("X")


def test_a_damaged_record_is_named_with_and_without_an_index(folder):
    answers(folder)
    file = next(folder.glob("[!.]*.json"))
    file.write_text("{")
    for filters in ((), ("average>0",)):
        with pytest.raises(TadropError, match=f"{file.name}: not a readable record"):
            cli.lines(folder, filters)


@pytest.mark.parametrize("place", [0, 0.3, 0.6, 0.9, 0.999])
def test_a_damaged_index_is_made_anew(folder, place):
    right = answers(folder)
    file = folder / index.FILE
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 0xFF
    file.write_bytes(data)
    assert answers(folder) == right
    file.write_bytes(b"")
    assert answers(folder) == right
    file.unlink()
    file.mkdir()
    assert answers(folder) == right


def test_a_hostile_index_deletes_nothing_that_does_not_pass(folder, monkeypatch):
    answers(folder)
    monkeypatch.setattr(index.Index, "passing", lambda self, _: index.np.ones(60, bool))
    assert {
        one["config"]["merge"]["name"] for one in cli.select(folder, ["name=ties"])
    } == {"ties"}


def test_few_records_have_no_index(tmp_path):
    fill(tmp_path / "records", 5)
    assert len(cli.lines(tmp_path / "records", ("average>0",))) == 5
    assert len(list((tmp_path / "records").iterdir())) == 5


def seconds_of(folder, *words):
    """Processor seconds of a command, with those that Python takes to start."""
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "tadrop", "records", "--records", str(folder), *words],
        check=True, stdout=subprocess.DEVNULL, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    after = os.times()
    spent = after.children_user - before.children_user
    return spent + after.children_system - before.children_system


@pytest.mark.slow
def test_twenty_thousand_records_take_two_seconds(tmp_path):
    fill(tmp_path / "records", 20_000)
    folder = tmp_path / "records"
    seconds_of(folder, "list", "average>80")  # makes the index
    assert seconds_of(folder, "list") < 2
    assert seconds_of(folder, "list", "key=00000000000001f") < 2
    assert seconds_of(folder, "list", "merge.name=ties", "average>50") < 2
    began = time.process_time()
    suites(folder)  # what boards ask of all records
    assert time.process_time() - began < 2
    (folder / index.FILE).unlink()
    assert seconds_of(folder, "list", "key=00000000000001f") < 2
