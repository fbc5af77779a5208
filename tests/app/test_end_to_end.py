"""run.py as a user calls it, on the embedded suite with two tasks and few images."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tadrop.app.main import run_words
from tadrop.results.record import read_tensors

ROOT = Path(__file__).parents[2]
SMALL = ("tasks.names=[hebrew,braille]", "limit=40")


def python(*words, cwd=ROOT):
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=280
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("suite")


def run(folder, *words):
    paths = (f"paths.records={folder}/records", f"paths.cache={folder}/cache")
    return python("run.py", *words, *SMALL, *paths)


@pytest.fixture
def ended(monkeypatch):
    """A run in this process that ends before it loads a model, and with what it ends.

    What a process of its own makes of that is tested with one command of each kind.
    """
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def ended(folder, *words):
        monkeypatch.setattr(sys, "argv", ["run.py"])
        paths = (f"paths.records={folder}/records", f"paths.cache={folder}/cache")
        with pytest.raises(SystemExit) as end:
            run_words([*words, SMALL[1], *paths])
        return end.value.code

    return ended


@pytest.fixture(scope="module")
def sweep(folder):
    """Two methods, three settings of TADrop: one process."""
    done = run(folder, "-m", "merge=emr,ties", "tadrop=off,on,uniform")
    assert done.returncode == 0, done.stderr
    return done


def records(folder):
    return [
        json.loads(path.read_text())
        for path in sorted((folder / "records").glob("*.json"))
    ]


def test_a_sweep_leaves_a_record_per_run_and_two_references(folder, sweep):
    found = {
        (r["config"]["merge"]["name"], (r["config"]["tadrop"] or {}).get("assign"))
        for r in records(folder)
    }
    variants = {None, "adaptive", "uniform"}
    assert found == {
        ("individual", None),
        ("pretrained", None),
        *((m, v) for m in ("emr", "ties") for v in variants),
    }


def test_records_hold_what_a_reader_needs(folder, sweep):
    for record in records(folder):
        assert record["protocol"]["limit"] == 40
        assert {s["task"]: s["count"] for s in record["scores"]} == {
            "hebrew": 40,
            "braille": 40,
        }
        assert set(record["checkpoints"]) == {"base", "hebrew", "braille"}
        assert set(record["data"]) == {"hebrew/test", "braille/test"}
        assert record["peak_bytes"] > 0
        assert {"load", "sparsify", "merge", "evaluate"} <= set(record["seconds"])
        assert record["versions"]["torch"]


def test_the_control_has_the_density_and_the_norm_of_tadrop(folder, sweep):
    by = {
        (r["config"]["merge"]["name"], (r["config"]["tadrop"] or {}).get("assign")): r
        for r in records(folder)
    }
    for method in ("emr", "ties"):
        adaptive, uniform = by[method, "adaptive"], by[method, "uniform"]
        tables = [
            read_tensors(folder / "records", one["key"]) for one in (adaptive, uniform)
        ]
        # What fine-tuning left alone loses nothing and is not counted.
        whole = [
            table[~table["tensor"].str.startswith(("stem", "position"))]
            for table in tables
        ]
        kept = [
            float(((1 - table["sparsity"]) * table["size"]).sum()) for table in whole
        ]
        assert kept[1] == pytest.approx(
            kept[0], abs=0.5 * len(tables[0]) + 1
        )  # each tensor's count is rounded
        # density counts what is not zero: where TADrop drops nothing it also keeps entries that
        # were 0 all along
        assert uniform["density"] == pytest.approx(adaptive["density"], abs=1e-3)
        assert (
            uniform["config"]["tadrop"]["norm"] == adaptive["config"]["tadrop"]["norm"]
        )
        assert 0.05 < adaptive["density"] < 0.95


def test_a_sweep_prints_a_line_per_run(sweep):
    jobs, table = sweep.stdout.split("glyph_vit, 2 tasks\n")
    assert "best on the test split: " in table
    lines = jobs.strip().splitlines()
    assert [line.split("average")[0].strip() for line in lines] == [
        f"{method}{variant}"
        for method in ("EMR", "TIES")
        for variant in ("", " + TADrop", " + uniform")
    ]


def test_a_run_that_is_recorded_is_not_run_again(folder, sweep):
    before = {p: p.stat().st_mtime_ns for p in (folder / "records").iterdir()}
    done = run(folder, "merge=emr", "tadrop=on")
    assert done.returncode == 0, done.stderr
    assert "running" not in done.stderr
    for words in ("Individual", "Pretrained", "EMR + TADrop", "hebrew", "kept"):
        assert words in done.stdout
    assert {p: p.stat().st_mtime_ns for p in (folder / "records").iterdir()} == before


def test_the_same_command_gives_the_same_bits(folder, sweep, tmp_path):
    done = run(tmp_path, "merge=emr", "tadrop=on")
    assert done.returncode == 0, done.stderr
    for again in records(tmp_path):
        first = json.loads((folder / "records" / f"{again['key']}.json").read_text())
        for part in (
            "scores",
            "density",
            "factors",
            "checkpoints",
            "data",
            "config",
            "stored_bytes",
        ):
            assert again[part] == first[part]


@pytest.mark.slow
def test_selection_on_a_grid_sees_validation_only(tmp_path):
    done = run(
        tmp_path,
        "merge=task_arithmetic",
        "tadrop=off",
        "select=grid",
        "merge.scale_grid=[0.2,0.5]",
    )
    assert done.returncode == 0, done.stderr
    record = next(
        r
        for r in records(tmp_path)
        if r["config"]["merge"]["name"] == "task_arithmetic"
    )
    assert record["selection"]["split"] == "validation"
    points = dict(record["selection"]["grid"])
    assert record["selection"]["scale"] == max(points, key=lambda p: (points[p], -p))
    assert set(record["data"]) == {
        f"{t}/{s}" for t in ("hebrew", "braille") for s in ("test", "validation")
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("tadrop.q_lo=0.99",), "q_lo is 0.99"),
        (("tasks.names=[klingon]",), "no glyph task is called 'klingon'"),
        (("model.base=nowhere.safetensors",), "no checkpoint at nowhere.safetensors"),
        (("select=oracle",), "select=oracle: select is fixed or grid"),
        (("device=cuda:9",), "cuda"),
    ],
)
def test_mistakes_are_one_line(tmp_path, ended, words, expected):
    said = ended(tmp_path, *words)
    assert expected in said
    assert "\n" not in said
    assert not list(tmp_path.glob("records/*.json"))


def test_a_mistake_found_late_is_the_last_line_of_its_process(tmp_path):
    done = run(tmp_path, "model.base=nowhere.safetensors")
    assert done.returncode != 0
    lines = done.stderr.strip().splitlines()
    assert "no checkpoint at nowhere.safetensors" in lines[-1]
    assert not any("Traceback" in line for line in lines)
    assert not list(tmp_path.glob("records/*.json"))


@pytest.mark.slow
def test_two_processes_make_a_record_once(tmp_path):
    words = [
        *SMALL,
        "merge=average",
        "tadrop=off",
        f"paths.records={tmp_path}/r",
        f"paths.cache={tmp_path}/c",
    ]
    start = partial(
        subprocess.Popen, [sys.executable, "run.py", *words], cwd=ROOT, text=True
    )
    both = [start(stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=280) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]  # the same table
    told = "".join(err for _, err in said)
    for title in ("Individual", "Pretrained", "Weight Averaging"):
        assert told.count(f"running {title}\n") == 1


@pytest.mark.slow
def test_a_board_ends_in_its_table(tmp_path):
    """With other tasks it is not the committed table, so it is only printed, unless it is told
    where to go.
    """
    before = {
        path: path.stat().st_mtime_ns for path in (ROOT / "results").glob("demo*")
    }
    few = ("+board=demo", "merge=average")
    done = run(tmp_path, *few)
    assert done.returncode == 0, done.stderr
    assert "glyph_vit, 2 tasks" in done.stdout
    assert (
        "not written: with limit, merge, paths.records, tasks.names it is another table than demo's"
        in done.stderr
    )
    assert {
        path: path.stat().st_mtime_ns for path in (ROOT / "results").glob("demo*")
    } == before
    done = run(tmp_path, *few, f"paths.results={tmp_path}/tables")
    assert done.returncode == 0, done.stderr
    assert "running" not in done.stderr
    assert "Weight Averaging" in (tmp_path / "tables" / "demo.md").read_text()
    assert (tmp_path / "tables" / "demo_accuracy.svg").exists()


def test_a_dry_run_runs_nothing(tmp_path):
    done = run(tmp_path, "+board=demo", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "17 runs, 0 recorded, 17 owed" in done.stdout
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("merge=ties",), "3 runs, 0 recorded, 3 owed"),
        (("merge=ties",), "all at hand, nothing to download"),
        (("-m", "merge=ties,emr", "tadrop=off,on"), "6 runs, 0 recorded, 6 owed"),
    ],
)
def test_a_dry_run_says_what_a_run_and_a_sweep_owe(
    tmp_path, ended, capsys, words, expected
):
    assert not ended(tmp_path, *words, SMALL[0], "--dry-run")
    assert expected in capsys.readouterr().out
    assert not (tmp_path / "records").exists()


def test_a_dry_run_of_a_merge_alone_is_another_command(tmp_path, ended):
    said = ended(tmp_path, SMALL[0], "evaluate=false", "--dry-run")
    assert "tadrop merge --dry-run tells" in said
    assert not (tmp_path / "records").exists()
