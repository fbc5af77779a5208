"""tadrop records: lists, filters, compares, prunes after asking, exports."""

import sys

import numpy as np
import pandas
import pytest

from tadrop.app.verbs import records as cli
from tadrop.results import record
from tadrop.types import TadropError
from tests import records as hand

BITS = {"mnist": np.array([True, False, True]), "svhn": np.array([False, True, True])}


@pytest.fixture
def folder(tmp_path):
    for made in (
        hand.record("individual", (0.95, 0.93)),
        hand.record("ties", (0.9, 0.7)),
        hand.record("ties", (0.92, 0.74), tadrop={}),
        hand.record("dare", (0.6, 0.5), seed=1, chance=True),
    ):
        hand.write(tmp_path, made, BITS)
    return tmp_path


def titles(folder, *filters):
    return sorted(one["label"] for one in cli.select(folder, filters))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ((), ["DARE", "Individual", "TIES", "TIES + TADrop"]),
        (("config.merge.name=ties",), ["TIES", "TIES + TADrop"]),
        (("merge.name=ties", "config.tadrop=null"), ["TIES"]),
        (("name=t?es", "tadrop.q_lo=0.8"), ["TIES + TADrop"]),
        (("average>80",), ["Individual", "TIES + TADrop"]),
        (("score.svhn<0.6e2",), ["DARE"]),
        (("config.seed=1",), ["DARE"]),
        (("merge.name!=ties",), ["DARE", "Individual"]),
        (("nothing.like.it=1",), []),
        (("nothing.like.it!=1",), []),
    ],
)
def test_filters(folder, filters, expected):
    assert titles(folder, *filters) == expected


@pytest.mark.parametrize("bad", ["ties", "average>high", "=3"])
def test_what_is_not_a_filter(folder, bad):
    with pytest.raises(TadropError, match="is not a"):
        cli.select(folder, [bad])


def test_a_key_may_be_shortened_while_it_is_one_record_s(folder):
    keys = [one["key"] for one in record.read_all(folder)]
    assert cli.one_of(folder, keys[0][:12])["key"] == keys[0]
    with pytest.raises(TadropError, match="4 records"):
        cli.one_of(folder, "")
    with pytest.raises(TadropError, match="0 records"):
        cli.one_of(folder, "zz")


def test_diff_names_what_was_done_differently_and_what_came_of_it(folder):
    (plain,) = cli.select(folder, ["merge.name=ties", "config.tadrop=null"])
    (ours,) = cli.select(folder, ["merge.name=ties", "config.tadrop!=null", "q_lo=0.8"])
    lines = {name: (a, b) for name, a, b in cli.differences(plain, ours)}
    assert lines["config.tadrop"] == ("null", "-")
    assert lines["config.tadrop.q_lo"] == ("-", "0.8")
    assert lines["score.svhn"] == ("70", "74")
    assert lines["average"] == ("80", "83")
    assert "config.merge.name" not in lines
    assert "key" not in lines


def call(monkeypatch, folder, *words):
    monkeypatch.setattr(sys, "argv", ["records", "--records", str(folder), *words])
    cli.main()


def test_prune_does_nothing_unless_told(folder, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="say --yes"):
        call(monkeypatch, folder, "prune", "merge.name=ties")
    assert len(list(folder.iterdir())) == 8
    call(monkeypatch, folder, "prune", "merge.name=ties", "--yes")
    assert "2 records deleted" in capsys.readouterr().out
    assert titles(folder) == ["DARE", "Individual"]
    assert len(list(folder.iterdir())) == 4
    call(monkeypatch, folder, "prune", "merge.name=ties", "--yes")
    assert "nothing to delete" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "left"), [("yes", 2), ("y", 4), ("", 4)])
def test_prune_asks(folder, monkeypatch, answer, left):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(cli.out, "input", lambda prompt: answer)
    call(monkeypatch, folder, "prune", "merge.name=ties")
    assert len(titles(folder)) == left


def test_prune_needs_a_filter(folder, monkeypatch):
    with pytest.raises(SystemExit):
        call(monkeypatch, folder, "prune", "--yes")
    assert len(titles(folder)) == 4


@pytest.mark.parametrize(
    ("name", "read"),
    [("all.csv", pandas.read_csv), ("all.parquet", pandas.read_parquet)],
)
def test_export(folder, tmp_path, monkeypatch, name, read):
    call(monkeypatch, folder, "export", str(tmp_path / "out" / name), "merge.name=ties")
    frame = read(tmp_path / "out" / name)
    assert len(frame) == 4
    assert sorted(frame["value"]) == [0.7, 0.74, 0.9, 0.92]
    assert set(frame["config.merge.name"]) == {"ties"}
    assert frame.groupby("key")["average"].first().tolist() == pytest.approx(
        frame.groupby("key")["value"].mean().mul(100).tolist()
    )


def test_export_knows_two_formats(folder, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"\.csv or \.parquet"):
        call(monkeypatch, folder, "export", str(tmp_path / "all.xlsx"))


def test_list_show_and_diff_print(folder, monkeypatch, capsys):
    keys = [one["key"] for one in record.read_all(folder)]
    call(monkeypatch, folder, "list", "average>80")
    text = capsys.readouterr().out
    assert "TIES + TADrop" in text
    assert "2 records" in text
    call(monkeypatch, folder, "show", keys[0])
    assert keys[0] in capsys.readouterr().out
    call(monkeypatch, folder, "diff", keys[0], keys[1])
    assert "average" in capsys.readouterr().out


def test_what_a_killed_writer_left_is_not_a_record(folder):
    (folder / ".0123456789abcdef.json.x7.json").write_text('{"format": 1, "ke')
    assert len(record.read_all(folder)) == 4
