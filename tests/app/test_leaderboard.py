"""The leaderboard: what is run, what is skipped, what a failure costs, and how rows are ranked and
drawn.
"""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tadrop.app.verbs import leaderboard
from tadrop.results import identity, record, table
from tadrop.results.columns import data, headings, size
from tadrop.results.figures import boards
from tadrop.results.formats import label, markdown, texts
from tadrop.types import TadropError


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


def board(tasks=2, owed=()):
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
    return leaderboard.Board(f"set{tasks}", Path("nowhere"), records, list(owed))


def test_rows_are_ranked_by_average_and_test_time_rows_stand_last():
    made = leaderboard.ranked(board())
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
    made = leaderboard.ranked(board())
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


def test_every_row_is_on_the_board_but_the_references():
    found = leaderboard.rows()
    files = {path.stem for path in (leaderboard.CONF / "merge").glob("*.yaml")}
    assert set(found) == files - {"individual", "pretrained"}
    assert leaderboard.rows(only=["emr", "ties"], skip=["ties"]) == ["emr"]
    with pytest.raises(TadropError, match="no row is called nonsense"):
        leaderboard.rows(only=["nonsense"])


def test_a_row_that_fails_costs_itself_only(monkeypatch):
    played = []

    def run(cfg):
        if cfg.merge.name == "ties":
            raise TadropError("two lines\nof which one is shown")
        if cfg.merge.name == "emr":
            raise ZeroDivisionError
        played.append(cfg.merge.name)

    monkeypatch.setattr(leaderboard, "run", run)
    failures = leaderboard.play("glyph8", ["average", "emr", "ties"], ["off", "on"], [])
    assert played == ["individual", "pretrained", "average", "average"]
    assert len(failures) == 4
    assert "tasks=glyph8 merge=emr tadrop=off: ZeroDivisionError: " in failures
    assert "tasks=glyph8 merge=ties tadrop=on: TadropError: two lines" in failures


@pytest.mark.parametrize(
    "extra", [[], ["model=dinov2_s14", "limit=7"], ["tasks.names=[math,braille]"]]
)
def test_a_board_s_runs_are_those_of_their_command_lines(extra):
    runs = leaderboard.configs("glyph14", ["fisher", "tall_mask"], ["off", "on"], extra)
    assert len(runs) == 4
    for line, cfg in runs.items():
        with initialize_config_dir(str(leaderboard.CONF), version_base="1.3"):
            alone = compose("config", line.split())
        assert OmegaConf.to_container(cfg, resolve=True) == OmegaConf.to_container(
            alone, resolve=True
        )


def test_rows_for_two_models_stand_where_there_are_two():
    def names(tasks):
        runs = leaderboard.configs(tasks, ["average", "slerp"], ["off"], [])
        return [cfg.merge.name for cfg in runs.values()]

    assert names("glyph8") == ["average"]
    assert names("glyph2") == ["average", "slerp"]


def test_a_board_holds_what_is_recorded_and_names_what_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard, "rows", lambda: ["average", "ties"])
    (cfg,) = leaderboard.configs("glyph2", ["ties"], ["on"], []).values()
    config = OmegaConf.to_container(cfg, resolve=True)
    made = a_record("ties", 0.5, ON) | {
        "format": record.FORMAT,
        "key": identity.key(config),
    }
    record.write(tmp_path, made)
    found = leaderboard.recorded("glyph2", folder=tmp_path)
    assert [one["key"] for one in found.records] == [identity.key(config)]
    owed = [
        "Individual",
        "Pretrained",
        "Weight Averaging",
        "TIES",
        "Weight Averaging + TADrop",
    ]
    assert sorted(found.owed) == sorted(owed)
    assert (
        "Not recorded: TIES + TADrop."
        in leaderboard.ranked(board(owed=["TIES + TADrop"])).caption
    )


def test_what_is_written(tmp_path):
    boards = {f"set{n}": leaderboard.ranked(board(n)) for n in (2, 3)}
    paths = leaderboard.write(tmp_path, boards)
    assert {p.name for p in paths} == {p.name for p in tmp_path.iterdir()}
    assert {
        "leaderboard_set2.md",
        "leaderboard_set3_storage.svg",
        "leaderboard_tasks.png",
    } <= {p.name for p in paths}
    before = {path.name: path.read_bytes() for path in paths}
    again = leaderboard.write(tmp_path / "again", boards)
    assert {path.name: path.read_bytes() for path in again} == before


def test_the_figure_over_tasks_shows_gains():
    figure = boards.accuracy_against_tasks([leaderboard.ranked(board(n)) for n in (3, 2)])
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
    axes = boards.accuracy_against_storage(leaderboard.ranked(board())).axes[0]
    placed = [
        tuple(p) for each in axes.collections for p in each.get_offsets().tolist()
    ]
    assert len(placed) == 5
    assert (617_000, pytest.approx(60)) in placed


def test_records_are_found_again(tmp_path, monkeypatch):
    """A second board runs nothing: run.run finds the records of the first."""
    from tadrop.app.runs import run as runner

    names = ["average"]
    for cfg in leaderboard.configs(
        "glyph8", names, ["off"], [f"paths.records={tmp_path}"]
    ).values():
        config = runner.OmegaConf.to_container(cfg, resolve=True)
        made = a_record("average", 0.5) | {
            "format": record.FORMAT,
            "key": identity.key(config),
        }
        record.write(tmp_path, made)
        assert runner.run(cfg)["key"] == identity.key(config)
