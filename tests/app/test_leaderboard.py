"""The leaderboard: what is run, what is skipped, what a failure costs, and how rows are ranked and
drawn.
"""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tadrop.app.boards.board import Board
from tadrop.app.boards.contents import Sources, ranked
from tadrop.app.boards.recorded import Recorded, recorded
from tadrop.app.boards.words import spoken
from tadrop.app.boards.writing import write_all
from tadrop.app.places import CONF
from tadrop.app.verbs.boards import leaderboard
from tadrop.errors import TadropError
from tadrop.results import identity, record, table
from tadrop.results.columns import data, headings, size
from tadrop.results.figures import boards
from tadrop.results.formats import label, markdown, texts
from tadrop.results.identity import label as title
from tests import records as hand


def a_record(name, average, tadrop=None, data="none", stored=800, tasks=2, split=None):
    """As much of a record as a table needs."""
    names = [f"t{i}" for i in range(tasks)]
    scores = [
        {"task": t, "value": average + d, "count": 10}
        for t, d in zip(names, (0.1, -0.1) * tasks, strict=False)
    ]
    return {
        "key": f"{name}-{tadrop is not None}-{tasks}",
        "config": {
            "merge": {"name": name, "title": name.title(), "data": data},
            "tadrop": tadrop,
            "before": [] if tadrop is None else ["tadrop"],
            "seed": 0,
            "model": {"name": "m"},
            "tasks": {"names": names},
        },
        "protocol": {
            "tasks": "p",
            "split": "test",
            "limit": None,
            "metric": "accuracy",
        },
        "selection": {
            "rule": "grid" if split else "fixed",
            "scale": 1.0,
            "split": split,
        },
        "scores": scores,
        "density": 0.5,
        "stored_bytes": stored,
    }


ON = {"assign": "adaptive"}


NOWHERE = Sources(Path("nowhere"), Path("nowhere"))


def leaderboard_of(tasks, *words):
    return Board("leaderboard", (f"tasks={tasks}", *words))


def board(tasks=2):
    records = [
        a_record("pretrained", 0.3, tasks=tasks, stored=0),
        a_record("individual", 0.9, tasks=tasks, stored=4000),
        a_record("weak", 0.4, tasks=tasks),
        a_record("weak", 0.45, ON, tasks=tasks),
        a_record("cheat", 0.8, data="test inputs", tasks=tasks),
        a_record("strong", 0.6, data="training inputs", stored=1_234_000, tasks=tasks),
        a_record(
            "strong", 0.5, ON, data="training inputs", stored=1_234_000, tasks=tasks
        ),
    ]
    return Recorded(leaderboard_of(f"glyph{tasks}"), Path("nowhere"), records)


def ranking(tasks=2):
    return ranked(board(tasks).records, NOWHERE)


def test_rows_are_ranked_by_average_and_test_time_rows_stand_last():
    made = ranking()
    labels = [label(row) for row in made.rows]
    assert labels == [
        "Individual",
        "Pretrained",
        "Strong",
        "+ TADrop",
        "Weak",
        "+ TADrop",
        "Cheat",
    ]
    assert [row.data for row in made.rows][2:] == [
        *[("training inputs",)] * 2,
        *[()] * 2,
        ("test inputs",),
    ]


def test_the_board_says_what_was_seen_and_stored():
    made = ranking()
    cells = dict(zip(headings(made), texts(made, made.rows[2]), strict=True))
    assert cells["data"] == "training inputs"
    assert cells["stored"] == "617 kB"  # 1,234,000 bytes over two tasks
    assert "graded on" in made.caption
    assert "| 617 kB |" in markdown(made)


def test_a_table_of_rows_that_saw_no_data_stays_as_narrow_as_it_was():
    made = table.build([a_record("weak", 0.4), a_record("other", 0.5)])
    assert "data" not in made.extra
    assert "stored" not in made.extra
    assert "stored" in headings(table.with_data(made))


def test_a_grid_on_validation_data_is_data():
    (row,) = table.build([a_record("weak", 0.4, split="validation")]).rows
    assert row.data == ("validation labels",)
    made = table.build(
        [a_record("fit", 0.4, data="training inputs", split="validation")]
    )
    (row,) = made.rows
    assert row.data == ("training inputs", "validation labels")
    assert data(row, made).text == "training inputs and validation labels"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (12, "12 B"),
        (12_345, "12.3 kB"),
        (1_270_000, "1.27 MB"),
        (3.1e12, "3.1e+03 GB"),
    ],
)
def test_sizes_as_people_read_them(count, text):
    assert size(count) == text


def test_every_row_that_merges_is_on_the_board():
    """Beside the references there are rows that store each model alone: +board=compression."""
    board = leaderboard_of("glyph2")
    files = {path.stem for path in (CONF / "merge").glob("*.yaml")}
    alone = {"bitdelta", "compress_dare", "compress_nps", "compress_top"}
    alone |= {"quantised", "quantised_2", "quantised_3", "quantised_8"}
    references = {"individual", "pretrained"}
    assert set(leaderboard.lineup(board)) == files - references - alone
    assert leaderboard.lineup(board, only=["emr", "ties"], skip=["ties"]) == ["emr"]
    with pytest.raises(TadropError, match="no row is called nonsense"):
        leaderboard.lineup(board, only=["nonsense"])


def test_a_row_that_fails_costs_itself_only(monkeypatch):
    played = []

    def run(cfg):
        if cfg.merge.name == "ties":
            raise TadropError("two lines\nof which one is shown")
        if cfg.merge.name == "emr":
            raise ZeroDivisionError
        played.append(cfg.merge.name)

    monkeypatch.setattr(leaderboard, "run", run)
    rows, variants = ["average", "emr", "ties"], ["off", "on"]
    failures = leaderboard.play(leaderboard_of("glyph8"), rows, variants)
    assert played == ["individual", "pretrained", "average", "average"]
    assert len(failures) == 4
    assert "tasks=glyph8 merge=emr tadrop=off: ZeroDivisionError: " in failures
    assert "tasks=glyph8 merge=ties tadrop=on: TadropError: two lines" in failures


@pytest.mark.parametrize(
    "extra", [[], ["model=dinov2_s14", "limit=7"], ["tasks.names=[math,braille]"]]
)
def test_a_board_s_runs_are_those_of_their_command_lines(extra):
    choices = ("merge=fisher,tall_mask", "tadrop=off,on")
    jobs = list(leaderboard_of("glyph14", *extra, *choices).jobs())
    assert len(jobs) == 4
    for cfg, words in jobs:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            alone = compose("config", spoken(words))
        config = OmegaConf.to_container(cfg, resolve=True)
        assert config.pop("board") == {"file": "leaderboard", "ranked": True}
        assert config == OmegaConf.to_container(alone, resolve=True)


def test_plain_rows_are_run_first():
    variants = [words[0] for words in leaderboard_of("glyph8").overrides]
    assert variants == sorted(variants, key=["tadrop=off", "tadrop=on"].index)


def test_rows_for_two_models_stand_where_there_are_two():
    def names(tasks):
        board = leaderboard_of(tasks)
        there = {word for words in board.overrides for word in words}
        rows = leaderboard.lineup(board, only=["average", "slerp"])
        assert ("merge=slerp" in there) == ("slerp" in rows)
        return rows

    assert names("glyph8") == ["average"]
    assert names("glyph2") == ["average", "slerp"]


def test_a_board_holds_what_is_recorded_and_names_what_is_not(tmp_path):
    (cfg, _), *_ = leaderboard_of("glyph2", "merge=ties", "tadrop=on").jobs()
    config = OmegaConf.to_container(cfg, resolve=True)
    made = hand.record("ties", tadrop={}) | {
        "format": record.FORMAT,
        "key": identity.key(config),
    }
    record.write(tmp_path, made)
    found = recorded(leaderboard_of("glyph2", "merge=average,ties"), tmp_path)
    assert [one["key"] for one in found.records] == [identity.key(config)]
    owed = [
        "Individual",
        "Pretrained",
        "Weight Averaging",
        "TIES",
        "Weight Averaging + TADrop",
    ]
    assert sorted(map(title, found.owed.values())) == sorted(owed)
    assert all(name in found.told() for name in owed)
    assert not found.stands


def test_what_is_written(tmp_path):
    rankings = [board(n) for n in (2, 8)]
    paths, _ = write_all(rankings, NOWHERE, tmp_path)
    assert {p.name for p in paths} == {p.name for p in tmp_path.iterdir()}
    assert {
        "leaderboard_glyph2.md",
        "leaderboard_glyph8_storage.svg",
        "leaderboard_tasks.png",
    } <= {p.name for p in paths}
    before = {path.name: path.read_bytes() for path in paths}
    again, _ = write_all(rankings, NOWHERE, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in again} == before


def test_the_figure_over_tasks_shows_gains():
    figure = boards.accuracy_against_tasks([ranking(n) for n in (3, 2)])
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == [
        "Cheat",
        "Strong",
        "Weak",
        "Individual",
        "Pretrained",
    ]
    strong, weak = right.lines[:2]
    assert list(strong.get_xdata()) == [2, 3]
    assert list(strong.get_ydata()) == pytest.approx([-10, -10])
    assert list(weak.get_ydata()) == pytest.approx([5, 5])


def test_the_figure_of_storage_places_every_row():
    axes = boards.accuracy_against_storage(ranking()).axes[0]
    placed = [
        tuple(p) for each in axes.collections for p in each.get_offsets().tolist()
    ]
    assert len(placed) == 5
    near = [pytest.approx(place) == (617_000, 60) for place in placed]
    assert sum(near) == 1


def test_records_are_found_again(tmp_path, monkeypatch):
    """A second board runs nothing: run.run finds the records of the first."""
    from tadrop.app.runs import run as runner

    words = ("merge=average", "tadrop=off", f"paths.records={tmp_path}")
    for cfg, _ in leaderboard_of("glyph8", *words).jobs():
        config = OmegaConf.to_container(cfg, resolve=True)
        made = hand.record("ties") | {
            "format": record.FORMAT,
            "key": identity.key(config),
        }
        record.write(tmp_path, made)
        assert runner.run(cfg)["key"] == identity.key(config)
