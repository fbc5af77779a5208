"""What was made with former formulas is shown, marked, until its run is made anew."""

import csv
import json
from operator import attrgetter

import pytest

from docs.generate import catalogue
from tadrop.app.boards import cost
from tadrop.app.boards.board import Board
from tadrop.app.boards.contents import Sources
from tadrop.app.boards.recorded import collect, recorded
from tadrop.app.places import RECORDS
from tadrop.app.showing import print_table
from tadrop.app.verbs.boards import results
from tadrop.errors import TadropError
from tadrop.results import findings, formats, identity, record, table
from tadrop.results.html.page import FORMER, html_record
from tadrop.results.html.tables import html_table
from tadrop.results.identity import label
from tadrop.results.store import former
from tadrop.results.validity import page
from tests import records as hand
from tests import synthetic

WORDS = ("limit=7",)


def named(folder, lines):
    """Writes the file of former records beside a folder of records."""
    text = "".join(f"{key},{old},sparsify.count ties -> kth\n" for key, old in lines)
    (folder.parent / former.FILE).write_text("key,former,why\n" + text)


@pytest.fixture
def renewed(tmp_path):
    """The demo's records but one, which lies there under the key of former settings.

    Returns the folder, the key of its run and the key of the former record.
    """
    folder = tmp_path / "records"
    keys = synthetic.fill(folder, "demo", WORDS)
    key = next(
        identity.key(run.config)
        for run in Board("demo", WORDS).runs()
        if label(run.config) == "TIES"
    )
    old = json.loads((folder / f"{key}.json").read_text())
    old["config"]["sparsify"]["count"] = "ties"
    old["key"] = identity.key_of(old["config"])
    for suffix in record.SUFFIXES:
        side = folder / f"{key}{suffix}"
        if side.exists():
            side.rename(folder / f"{old['key']}{suffix}")
    (folder / f"{old['key']}.json").write_text(json.dumps(old))
    assert key in keys
    assert old["key"] != key
    return folder, key, old["key"]


def test_a_former_record_is_shown_and_its_run_is_owed(renewed):
    folder, key, old = renewed
    board = Board("demo", WORDS)
    with pytest.raises(TadropError, match=rf"{key}.json is not there"):
        collect(board, folder)
    named(folder, [(key, old)])
    found = collect(board, folder)
    assert list(found.owed) == [key]
    assert found.stands
    assert found.told().startswith(f"demo: 1 of {found.count} runs are not recorded")
    rows = table.build(found.records).rows
    (plain,) = filter(attrgetter("former"), rows)
    assert formats.marked(plain) == "TIES†"
    assert plain.keys == (old,)
    assert all(row.difference is not None for row in rows if row.variant)
    (shown,) = (one for one in found.records if one.get("former"))
    assert FORMER in html_record(shown, "", {})
    assert found.commands[old] == found.commands[key]
    assert f"{found.count - 1} recorded, 1 owed" in cost.dry_run(board, folder)
    assert cost.ahead(found).startswith(f"demo: 1 of {found.count} runs")


def test_a_record_of_its_own_takes_the_place_of_a_former_one(renewed):
    folder, key, old = renewed
    named(folder, [(key, old)])
    synthetic.fill(folder, "demo", WORDS)
    found = recorded(Board("demo", WORDS), folder)
    assert not found.owed
    assert not found.former
    assert old not in {one["key"] for one in found.records}
    assert not any(one.get("former") for one in found.records)


def test_a_former_record_that_is_gone_stands_in_for_nothing(renewed):
    folder, key, old = renewed
    named(folder, [(key, old)])
    (folder / f"{old}.json").unlink()
    found = recorded(Board("demo", WORDS), folder)
    assert list(found.owed) == [key]
    assert not found.former


def test_a_file_of_other_columns_is_refused(renewed):
    folder, _, _ = renewed
    (folder.parent / former.FILE).write_text("new,old\n1,2\n")
    message = r"former.csv: its columns must be key,former,why"
    with pytest.raises(TadropError, match=message):
        recorded(Board("demo", WORDS), folder)


def test_the_file_of_former_records_is_no_table_that_is_checked(renewed):
    folder, key, old = renewed
    named(folder, [(key, old)])
    (folder.parent / "gone.csv").write_text("a table of no board\n")
    sources = Sources(folder, folder / "none")
    differing = results.changed([], sources, folder.parent)
    assert "gone.csv" in differing
    assert former.FILE not in differing


def one_former():
    """TIES plain, made with former formulas, and with TADrop as it is today."""
    plain = hand.record("ties") | {"former": True}
    return table.build([plain, hand.record("ties", tadrop={})])


def test_every_form_of_a_table_marks_the_row_and_says_what_that_means(capsys):
    made = one_former()
    text = formats.markdown(made)
    assert "| TIES† | " in text
    assert "| &nbsp;&nbsp;+ TADrop | " in text
    assert made.caption.endswith(former.CAPTION)
    assert r"TIES$^\dagger$ & " in formats.latex(made)
    assert f"% {former.CAPTION}\n" in formats.latex(made)
    page_part = html_table(made)
    assert ">TIES†</a>" in page_part
    assert former.CAPTION in page_part
    print_table(made)
    shown = capsys.readouterr().out
    assert "TIES†" in shown
    assert " ".join(former.CAPTION.split()) in " ".join(shown.split())


def test_the_csv_names_former_records_and_keeps_the_names_of_rows():
    made = one_former()
    first, second = csv.DictReader(formats.csv(made).splitlines())
    assert first["method"] == "TIES"
    assert first["former"] == first["records"] == made.rows[0].keys[0]
    assert second["former"] == ""


def test_a_table_without_former_records_has_no_mark():
    made = table.build([hand.record("ties"), hand.record("ties", tadrop={})])
    for form in (formats.markdown, formats.csv, formats.latex, html_table):
        assert former.MARK not in form(made)
    assert "former" not in formats.csv(made)


def test_pages_take_the_dagger_from_the_name_to_the_numbers(tmp_path, monkeypatch):
    (tmp_path / "tiny.md").write_text(formats.markdown(one_former()))
    monkeypatch.setattr(catalogue, "RESULTS", tmp_path)
    first, second = catalogue.printed("tiny")
    assert (first["method"], first["avg"], first["diff"]) == ("TIES", "80.0†", "")
    assert (second["method"], second["avg"]) == ("+ TADrop", "80.0")


def test_sentences_about_former_records_are_marked():
    ranking = table.with_data(one_former())
    text = findings.markdown(findings.findings({"leaderboard_tiny": ranking}))
    assert "Best without TADrop: TIES† 80.0" in text
    assert former.CAPTION in text


def test_the_page_on_validity_says_whether_rows_are_former():
    today = table.build([hand.record("ties")])
    for made, said in ((one_former(), True), (today, False)):
        text = page.markdown(page.of({"leaderboard_tiny": made}, []))
        assert ("former formulas" in text) == said


def test_no_committed_line_is_stale_or_dangling():
    """Lines go when their runs are recorded: experiments/former_records.py prune."""
    lines = former.lines(RECORDS.parent / former.FILE)
    there = {file.stem for file in record.files(RECORDS)}
    keys = [line["key"] for line in lines]
    assert len(keys) == len(set(keys))
    assert sorted(there & set(keys)) == []
    assert sorted({line["former"] for line in lines} - there) == []
    assert all(line["why"] for line in lines)
