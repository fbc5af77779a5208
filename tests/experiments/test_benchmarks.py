"""The pages of the benchmarks: a run of one section keeps the others; nothing is measured here."""

import json

import pytest

from experiments import benchmark_merge, benchmark_text
from experiments.benchmarks.page import earlier

SCRIPTS = {  # script -> page, first section, second section, and what measures the second
    benchmark_text: ("text", "evaluate", "table", "table_cost"),
    benchmark_merge: ("merge", "spectral", "tadrop", "tadrop_alone"),
}


@pytest.mark.parametrize(
    "script", SCRIPTS, ids=lambda script: script.__name__.split(".")[-1]
)
def test_a_run_of_one_section_keeps_the_others_in_their_order(
    script, tmp_path, monkeypatch
):
    name, first, second, measure = SCRIPTS[script]
    stem = tmp_path / name
    kept = {"title": "Kept", "head": ["a"], "rows": [[1]], "notes": ""}
    old = {
        second: kept | {"title": "Old"},
        first: kept,
        "gone": kept | {"title": "Of a section that is no more"},
    }
    stem.with_suffix(".json").write_text(json.dumps({"sections": old}))
    monkeypatch.setattr(
        script, measure, lambda page: page.add(second, "New", ["b"], [[2]])
    )
    words = ["--folder", str(tmp_path), "--results", str(tmp_path), "--only", second]
    monkeypatch.setattr("sys.argv", [name, *words])
    script.main()
    made = json.loads(stem.with_suffix(".json").read_text())["sections"]
    assert list(made) == [first, second]
    assert made[first] == kept
    titles = [
        line
        for line in stem.with_suffix(".md").read_text().splitlines()
        if line.startswith("## ")
    ]
    assert titles == ["## Kept", "## New"]


def test_a_page_that_is_not_there_is_empty(tmp_path):
    assert earlier(tmp_path / "text").sections == {}
