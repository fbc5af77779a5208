"""Tuning with Optuna: what is searched is read as Hydra's sweepers read it, and a study goes on
where it was left.
"""

import sys

import pytest
from hydra import compose, initialize_config_dir

from tadrop.app.places import CONF
from tadrop.app.runs.run import run
from tadrop.app.verbs import tune
from tadrop.results import record, table
from tadrop.types import TadropError

SMALL = (
    "tasks.names=[hebrew,braille]",
    "limit=24",
    "device=cpu",
    "merge=task_arithmetic",
)


def test_what_is_searched_and_what_is_not():
    fixed, searched = tune.split(
        [*SMALL, "merge.scale=interval(0.1,1)", "tadrop.norm=l1,none"]
    )
    assert fixed == list(SMALL)
    assert list(searched) == ["merge.scale", "tadrop.norm"]
    with pytest.raises(TadropError, match="nothing to search"):
        tune.split(SMALL)
    with pytest.raises(TadropError):
        tune.split(["merge.scale=interval(0.1"])


def test_optuna_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(TadropError, match=r"pip install -e '\.\[optuna\]'"):
        tune.open_study("x", tmp_path, 0)


def test_a_study_is_kept_and_goes_on(tmp_path):
    pytest.importorskip("optuna", reason="no optuna: make launchers installs it")
    words = [*SMALL, f"paths.cache={tmp_path}/cache", "merge.scale=interval(0.1,1)"]
    words += ["tadrop.q_lo=0.3,0.95"]  # 0.95 is above q_hi: pruned
    first = list(tune.tune("x", words, 3, tmp_path / "x").trials)
    assert len(first) == 3
    again = tune.tune("x", words, 8, tmp_path / "x")
    assert len(again.trials) == 8
    assert [t.params for t in again.trials[:3]] == [t.params for t in first]
    assert len({t.params["merge.scale"] for t in again.trials}) == 8
    done = [t for t in again.trials if t.value is not None]
    pruned = [t for t in again.trials if t.value is None]
    assert done
    assert all(t.params["tadrop.q_lo"] == 0.3 for t in done)
    assert all(t.params["tadrop.q_lo"] == 0.95 for t in pruned)
    made = {r["key"]: r for r in record.read_all(tmp_path / "x" / "records")}
    for trial in done:
        kept = made[trial.user_attrs["record"]]
        assert kept["protocol"]["split"] == "validation"
        assert kept["selection"]["scale"] == trial.params["merge.scale"]
        assert trial.value == pytest.approx(sum(s["value"] for s in kept["scores"]) / 2)
    with pytest.raises(TadropError, match="a study of another search"):
        tune.tune("x", [*words, "seed=1"], 8, tmp_path / "x")


def test_a_record_says_that_a_study_chose_its_values(tmp_path):
    def made(*words):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            paths = [
                f"paths.cache={tmp_path}/cache",
                f"paths.records={tmp_path}/records",
            ]
            return run(compose("config", [*SMALL, *paths, "tadrop=off", *words]))

    plain, tuned = made(), made("tuned=first")
    assert plain["key"] != tuned["key"]
    assert plain["selection"]["rule"] == "fixed"
    assert (tuned["selection"]["rule"], tuned["selection"]["split"]) == (
        "tuned",
        "validation",
    )
    assert tuned["config"]["tuned"] == "first"
    assert plain["scores"] == tuned["scores"]
    (row,) = table.build([tuned]).rows
    assert row.data == ("validation labels",)
    with pytest.raises(TadropError, match="tuned=first says that a study chose"):
        made("tuned=first", "select=grid")
