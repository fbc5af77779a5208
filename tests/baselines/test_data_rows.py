"""The rows that look at data, as a user runs them: through run.py on the embedded suite, with and
without TADrop.
"""

import json

import pytest
from hydra import compose, initialize_config_dir

from tadrop.app.runs import run as runner
from tadrop.app.places import CONF
from tadrop.types import TadropError

SEARCH = ["merge.search.evaluations=11", "merge.refine.evaluations=9"]
ROWS = {  # what makes a row quick: nothing here changes which code runs
    "fisher": ["merge.statistics.examples=2"],
    "fisher_batch": ["merge.statistics.examples=8"],
    "regmean": ["merge.statistics.examples=8"],
    "adamerging": ["merge.refine.steps=2"],
    "adamerging_task": ["merge.refine.steps=2"],
    "adamerging_plus": ["merge.refine.steps=2"],
    "adamerging_task_plus": ["merge.refine.steps=2"],
    "surgery": ["merge.refine.steps=5"],
    "smile": [],
    "twin": ["merge.refine.epochs=1"],
    "nps": SEARCH,
    "nps_disjoint": SEARCH,
}
READS = {
    "none": {None},
    "training inputs": {"train"},
    "validation labels": {"validation"},
    "test inputs": {"test"},
}


def configured(folder, row, tadrop, *extra):
    few = [
        "tasks.names=[hebrew,braille]",
        "limit=24",
        f"paths.records={folder}/records",
        f"paths.cache={folder}/cache",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(
            "config", [f"merge={row}", f"tadrop={tadrop}", *few, *ROWS[row], *extra]
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


QUICK = {("smile", "on"), ("surgery", "off"), ("adamerging_plus", "on"), ("nps", "on")}
RUNS = [
    pytest.param(row, tadrop, marks=[] if (row, tadrop) in QUICK else pytest.mark.slow)
    for row in ROWS
    for tadrop in ("off", "on")
]


@pytest.mark.parametrize(("row", "tadrop"), RUNS)
def test_rows_run(folder, row, tadrop):
    record = runner.run(configured(folder, row, tadrop))
    assert len(record["scores"]) == 2
    assert record["stored_bytes"] > 0
    splits = {name.split("/")[1] for name in record["data"]}
    assert splits == {"test", *READS[record["config"]["merge"]["data"]]} - {None}
    again = runner.run(configured(folder, row, tadrop, "overwrite=true"))
    assert json.dumps(again["scores"]) == json.dumps(record["scores"])


def test_what_a_search_found_stands_in_the_record(folder):
    found = runner.run(configured(folder, "nps", "on"))["found"]
    assert (
        set(found["bands"]) == set(found["lambdas"]["point"]) == {"hebrew", "braille"}
    )
    assert [len(found["bands"][task]["point"]) for task in ("hebrew", "braille")] == [
        10,
        10,
    ]
    assert [
        search["evaluations"] for search in (*found["bands"].values(), found["lambdas"])
    ] == [
        11,
        11,
        7,
    ]
    assert "found" not in runner.run(configured(folder, "smile", "on"))


def test_what_a_row_says_it_sees_is_what_it_sees(folder):
    with pytest.raises(TadropError, match=r"statistics\.split"):
        runner.run(
            configured(folder, "fisher", "off", "merge.statistics.split=validation")
        )
    with pytest.raises(TadropError, match=r"merge\.data"):
        runner.run(configured(folder, "fisher", "off", "merge.data=everything"))


@pytest.mark.slow
def test_adaptation_sees_the_split_that_is_reported(folder):
    test = runner.run(configured(folder, "surgery", "off"))
    validation = runner.run(configured(folder, "surgery", "off", "split=validation"))
    assert test["config"]["merge"]["refine"]["split"] == "test"
    assert validation["config"]["merge"]["refine"]["split"] == "validation"


@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_adapts_says_test_inputs(folder, row):
    merge = configured(folder, row, "off").merge
    stages = (merge.get(stage) for stage in ("search", "statistics", "refine"))
    assert {node.get("split") for node in stages if node} == READS[merge.data]
