"""The rows that look at data, as a user runs them: through the program.

They run on the embedded suite with and without TADrop, and on CLIP in both packagings.
"""

import json

import pytest
from hydra import compose, initialize_config_dir

from tadrop.app.places import CONF
from tadrop.app.runs import run as runner
from tadrop.types import TadropError
from tests.models import test_clip as clip

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
QUICK = {("smile", "on"), ("surgery", "off"), ("adamerging_plus", "on"), ("nps", "on")}
QUICK_ON_CLIP = {"regmean", "twin"}
# Rows whose results on CLIP do not depend on the packaging.
SAME_ON_CLIP = {"fisher_batch", "regmean", "adamerging_task", "surgery"}


def marks(quick):
    return () if quick else pytest.mark.slow


def configured(folder, row, tadrop, *words):
    """A run of a row on two embedded tasks."""
    few = (
        "tasks.names=[hebrew,braille]",
        "limit=24",
        f"paths.records={folder}/records",
        f"paths.cache={folder}/cache",
    )
    settings = [f"merge={row}", f"tadrop={tadrop}", *few, *ROWS[row], *words]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


RUNS = []
for row in ROWS:
    for tadrop in ("off", "on"):
        quick = (row, tadrop) in QUICK
        RUNS.append(pytest.param(row, tadrop, marks=marks(quick)))


@pytest.mark.parametrize(("row", "tadrop"), RUNS)
def test_rows_run(folder, row, tadrop):
    record = runner.run(configured(folder, row, tadrop))
    assert len(record["scores"]) == 2
    assert record["stored_bytes"] > 0
    splits = {name.split("/")[1] for name in record["data"]}
    assert splits == {"test", *READS[record["config"]["merge"]["data"]]} - {None}
    again = runner.run(configured(folder, row, tadrop, "overwrite=true"))
    assert json.dumps(again["scores"]) == json.dumps(record["scores"])


CLIP_RUNS = [pytest.param(row, marks=marks(row in QUICK_ON_CLIP)) for row in ROWS]


@pytest.mark.parametrize("row", CLIP_RUNS)
def test_rows_run_on_clip_in_both_packagings(clip_hub, tmp_path, row):
    values = {}
    words = (f"merge={row}", "tadrop=off", "limit=16", "tasks.names=[mnist,eurosat]")
    for packaging in ("split", "fused"):
        word = f"model.packaging={packaging}"
        cfg = clip.configured(clip_hub, tmp_path, word, *words, *ROWS[row])
        record = runner.run(cfg)
        assert record["stored_bytes"] > 0
        scores = [score["value"] for score in record["scores"]]
        values[packaging] = json.dumps(scores)
    assert values["split"] == values["fused"] or row not in SAME_ON_CLIP


def test_what_a_search_found_stands_in_the_record(folder):
    found = runner.run(configured(folder, "nps", "on"))["found"]
    bands, lambdas = found["bands"], found["lambdas"]
    assert set(bands) == set(lambdas["point"]) == {"hebrew", "braille"}
    assert [len(bands[task]["point"]) for task in ("hebrew", "braille")] == [10, 10]
    searches = (*bands.values(), lambdas)
    assert [search["evaluations"] for search in searches] == [11, 11, 7]
    assert "found" not in runner.run(configured(folder, "smile", "on"))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("merge.statistics.split=validation", r"statistics\.split"),
        ("merge.data=everything", r"merge\.data"),
    ],
)
def test_what_a_row_says_it_sees_is_what_it_sees(folder, word, message):
    with pytest.raises(TadropError, match=message):
        runner.run(configured(folder, "fisher", "off", word))


@pytest.mark.slow
def test_adaptation_sees_the_split_that_is_reported(folder):
    test = runner.run(configured(folder, "surgery", "off"))
    validation = runner.run(configured(folder, "surgery", "off", "split=validation"))
    assert test["config"]["merge"]["refine"]["split"] == "test"
    assert validation["config"]["merge"]["refine"]["split"] == "validation"


@pytest.mark.parametrize("row", ROWS)
def test_a_row_says_the_splits_that_its_stages_read(folder, row):
    merge = configured(folder, row, "off").merge
    stages = (merge.get(stage) for stage in ("search", "statistics", "refine"))
    assert {node.get("split") for node in stages if node} == READS[merge.data]
