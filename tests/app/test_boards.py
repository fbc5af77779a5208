"""Every board composes into runs with records of their own; rows declare where they stand."""

import json

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tadrop.app.boards import catalogue, composing, cost
from tadrop.app.boards.board import Board, check, said
from tadrop.app.boards.catalogue import board_names
from tadrop.app.boards.recorded import collect, recorded, rival, standing
from tadrop.app.places import CONF
from tadrop.app.runs.run import reference_configs
from tadrop.errors import TadropError
from tadrop.results import identity
from tests import copies, synthetic
from tests import records as hand


def resolved(cfg):
    return OmegaConf.to_container(cfg, resolve=True)


def by_hydra(words):
    """What Hydra composes of a job's words."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return resolved(compose("config", list(words)))


def board_of(name):
    """A board with a task set that it is for."""
    count = said(name).get("tasks")
    return Board(name, (f"tasks=glyph{count}",) if count else ())


@pytest.mark.parametrize("name", board_names())
def test_a_board_says_what_it_is_and_composes_as_hydra_does(name):
    board = board_of(name)
    assert board.about
    jobs = board.overrides
    assert len(jobs) == len({tuple(job) for job in jobs})
    for job in (jobs[0], jobs[len(jobs) // 2], jobs[-1]):
        assert resolved(composing.configured(job)) == by_hydra(job)


@pytest.mark.parametrize("name", ["ablation_granularity", "ablation_placement", "demo"])
def test_shared_compositions_are_what_hydra_composes(name):
    for cfg, words in list(Board(name, ("limit=5",)).jobs())[::5]:
        assert resolved(cfg) == by_hydra(words)
        assert cfg.limit == 5


@pytest.mark.parametrize(
    "words",
    [
        ("merge=ties", "sparsify=none"),
        ("sparsify=dare", "merge=emr", "sparsify.keep=0.3"),
        ("model=dinov2_s14", "merge=della", "tadrop=off"),
        ("tasks=glyph20", "model=vit_b32", "merge=fisher", "tadrop=shuffled"),
        ("merge=ties", "+merge.more=1", "~export.expand", "limit=3"),
    ],
)
def test_any_words_compose_as_hydra_composes_them(words):
    assert resolved(composing.configured(words)) == by_hydra(words)


def test_references_are_those_that_a_run_makes():
    """Resolved at once for a whole board, and as run.py makes them."""
    board = Board("core", ("model=gpt2_small",))
    (cfg, _), *_ = board.jobs()
    configs = [run.config for run in board.runs()]
    made = [resolved(reference) for reference in reference_configs(cfg)]
    assert list(map(identity.key, made)) == list(
        map(identity.key, configs[: len(made)])
    )


def test_the_runs_of_a_board_are_those_of_its_jobs():
    board = Board("core")
    runs = {identity.key(run.config) for run in board.runs() if not run.reference}
    jobs = {identity.key(resolved(cfg)) for cfg, _ in board.jobs()}
    assert runs == jobs


def test_tables_of_every_method_have_the_rows_that_declare_them():
    jobs = Board("table_8", ("tasks=glyph8",)).overrides
    merges = {job[0].removeprefix("merge=") for job in jobs}
    rows = catalogue.merge_rows()
    declared = {name for name, row in rows.items() if "table_8" in row.boards}
    assert merges == declared
    assert {"average", "ties", "emr", "fisher", "tsv_m", "wudi", "twin"} <= merges
    # what adapts at test time, what takes hundreds of evaluations, what takes two models
    others = ("adamerging", "surgery", "nps", "slerp", "individual", "pretrained")
    assert not any(name.startswith(others) for name in merges)


def test_every_row_says_what_it_costs_and_where_it_stands():
    for name, row in catalogue.merge_rows().items():
        node = composing.configured([f"merge={name}"]).merge
        assert "boards" in (CONF / "merge" / f"{name}.yaml").read_text(), name
        assert node.cost in catalogue.COSTS, name
        assert set(node.boards) <= set(board_names()), name
        facts = (node.cost, tuple(node.boards), node.data, node.paper)
        assert facts == (row.cost, row.boards, row.data, row.paper), name


def test_no_board_keeps_a_list_of_what_it_leaves_out():
    for name in board_names():
        assert "exclude" not in (CONF / "board" / f"{name}.yaml").read_text()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("boards: [table_9]", "boards has 'table_9'; there are the boards ablation_"),
        ("cost: days", "cost is 'days'; it must be one of seconds, minutes, hours"),
    ],
)
def test_a_row_that_declares_nonsense_is_refused(tmp_path, monkeypatch, line, said):
    (tmp_path / "mine.yaml").write_text(f"# Mine.\nname: mine\n{line}\n")
    monkeypatch.setattr(catalogue, "MERGE", tmp_path)
    with pytest.raises(TadropError, match=f"mine.yaml: {said}"):
        catalogue.rows_of("table_8")


def test_what_boards_and_help_say_of_a_row_names_no_record():
    config = by_hydra(["merge=ties"])
    merge = {**config["merge"], "boards": [], "cost": "hours"}
    tasks = {**config["tasks"], "home": "elsewhere"}
    changed = config | {"merge": merge, "tasks": tasks, "board": {"file": "table"}}
    assert identity.settings(changed) == identity.settings(config)


@pytest.mark.parametrize(
    ("board", "file"),
    [
        (Board("demo"), "demo"),
        (Board("table_8", ("tasks=glyph8",)), "table_glyph8"),
        (Board("core", ("model=dinov2_s14", "tasks=offline20")), "table_offline20"),
        (Board("core", ("model=gpt2_small",)), "table_text7"),
        (Board("table_8", ("model=vit_b32",)), "table_vision8_vit_b32"),
        (Board("core", ("model=roberta_base",)), "table_glue8"),
        (Board("leaderboard", ("tasks=glyph2",)), "leaderboard_glyph2"),
    ],
)
def test_what_is_written_is_named_by_the_task_set_and_by_a_model_that_is_a_guest(
    board, file
):
    assert board.file == file


def test_a_board_for_eight_tasks_is_not_for_fourteen():
    check(Board("table_8", ("model=vit_b32",)).sweep)
    with pytest.raises(
        TadropError, match=r"for 14 tasks, and vision8 has 8; say tasks="
    ):
        check(Board("table_14", ("model=vit_b32",)).sweep)


def test_a_sweep_over_task_sets_is_a_board_on_each():
    board = Board("core", ("tasks=glyph2,glyph8", "seed=0"))
    assert [one.file for one in board.on_each_task_set()] == [
        "table_glyph2",
        "table_glyph8",
    ]
    (one,) = Board("demo", ("tasks=glyph2,glyph8",)).on_each_task_set()
    assert one.file == "demo"


def test_a_seed_makes_a_run_of_its_own_only_where_chance_plays_a_part():
    def count(merge, tadrop, *more):
        words = ["+board=demo", f"merge={merge}", f"tadrop={tadrop}", *more]
        runs = [composing.configured([*words, f"seed={seed}"]) for seed in (0, 1)]
        return len({identity.key(resolved(cfg)) for cfg in runs})

    assert count("average", "off") == 1
    assert count("dare", "off") == 2
    assert (
        count("dare", "on") == count("dare", "uniform") == 1
    )  # TADrop stands in for the random drop
    assert count("dare", "on", "before=[tadrop,sparsify]") == 2
    assert count("average", "shuffled") == 2


def test_what_is_not_a_board():
    with pytest.raises(
        TadropError, match="no board is called 'nothing'; there are ablation"
    ):
        Board("nothing")


def test_a_value_that_does_not_exist_is_named():
    with pytest.raises(TadropError, match="tadrop"):
        list(Board("demo", ("tadrop.nonsense=1",)).jobs())


@pytest.fixture
def half(tmp_path):
    """Half of the demo's runs as records made by hand."""
    runs = {identity.key(run.config): run.config for run in Board("demo").runs()}
    for key, config in list(runs.items())[::2]:
        made = hand.record("ties", tadrop=None) | {
            "key": key,
            "config": identity.settings(config),
        }
        scores = [
            {"task": t, "split": "test", "metric": "accuracy", "value": 0.5, "count": 9}
            for t in config["tasks"]["names"]
        ]
        (tmp_path / f"{key}.json").write_text(json.dumps(made | {"scores": scores}))
    return tmp_path, list(runs)


def test_dry_run_lists_what_is_owed_and_what_it_costs(half):
    folder, keys = half
    text = cost.dry_run(Board("demo"), folder)
    assert (
        f"{len(keys)} runs, {len(keys[::2])} recorded, {len(keys[1::2])} owed" in text
    )
    listed = [
        line
        for line in text.splitlines()
        if line.startswith("  ") and line.split()[0] in keys
    ]
    assert [line.split()[0] for line in listed] == keys[1::2]
    assert all(line.endswith("6 s") for line in listed)
    assert f"expected: {6 * len(keys[1::2])} s" in text


def test_a_board_says_first_how_long_it_takes(half, tmp_path):
    folder, keys = half
    owed = len(keys[1::2])
    assert cost.ahead(recorded(Board("demo"), folder)) == (
        f"demo: {owed} of {len(keys)} runs; expected: {6 * owed} s on one process"
    )
    few = Board("demo", ("limit=3",))
    assert cost.ahead(recorded(few, folder)).endswith(
        "runs; none like them is recorded, to tell a time"
    )


def test_dry_run_names_checkpoints_that_are_not_there(tmp_path):
    words = ("model.base=gone.safetensors", "tasks.names=[hebrew]")
    text = cost.dry_run(Board("demo", words), tmp_path)
    assert "no checkpoint at gone.safetensors" in text
    assert "  ?" in text


def test_a_missing_record_names_the_command_and_partial_makes_do(half):
    folder, keys = half
    with pytest.raises(
        TadropError,
        match=r"is not there; make it with: python run.py \+board=demo",
    ):
        collect(Board("demo"), folder)
    found = collect(Board("demo"), folder, partial=True)
    assert [one["key"] for one in found.records] == keys[::2]
    assert found.told().startswith(
        f"demo: {len(keys[1::2])} of {len(keys)} runs are not"
    )


@pytest.fixture
def two_boards(monkeypatch):
    """No other boards than these, which takes less time."""
    there = ["core", "table_14"]
    monkeypatch.setattr("tadrop.app.boards.recorded.board_names", lambda: there)


@pytest.mark.usefixtures("two_boards")
def test_a_board_stands_when_more_than_three_fifths_of_it_are_recorded(tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    words = ("tasks=glyph2",)
    synthetic.fill(few, "core", words, skip=2)
    synthetic.fill(many, "core", words, skip=4)
    assert not recorded(Board("core", words), few).stands
    assert standing(few) == []
    (found,) = standing(many)
    assert found.board.file == "table_glyph2"
    assert found.owed
    assert len(found.records) == found.needed


@pytest.mark.usefixtures("two_boards")
def test_of_boards_with_one_name_the_larger_is_written(tmp_path):
    synthetic.fill(tmp_path, "table_14", ("tasks=glyph14", "seed=0"))
    synthetic.fill(tmp_path, "core", ("tasks=glyph14",))
    (found,) = standing(tmp_path)
    assert (found.board.file, found.board.name) == ("table_glyph14", "table_14")
    assert rival(recorded(Board("core", ("tasks=glyph14",)), tmp_path)) == "table_14"
    assert rival(found) == ""


def test_a_bare_off_in_a_board_s_file_is_refused_in_a_line(tmp_path):
    """YAML reads it as a truth value, which is the name of no file."""
    copies.copy_repository(tmp_path)
    text = (
        "hydra: {mode: MULTIRUN, sweeper: {params: {merge: 'ties,emr', tadrop: off}}}"
    )
    board = tmp_path / "conf/board/mine.yaml"
    board.write_text(f"# @package _global_\n# Mine.\n{text}\n", encoding="utf-8")
    line = (
        "error: tadrop=False: tadrop is on, off, uniform, inverted, pooled or shuffled"
    )
    with pytest.raises(AssertionError, match=f"^{line}\n"):
        copies.python(tmp_path, "run.py", "+board=mine", "--dry-run")
