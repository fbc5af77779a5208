"""The README's table is what the committed records give, byte for byte, and its commands name
things that exist.
"""

import re
from pathlib import Path

import pytest

from tadrop.app import boards as recipes
from tadrop.app.verbs import results
from tadrop.app.verbs.table import collect, made
from tadrop.results import formats, published

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "results" / "records"


@pytest.fixture(scope="module")
def demo():
    return made("demo", collect("demo", RECORDS), RECORDS, published.FOLDER)


def test_the_table_is_rendered_from_the_records(demo):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    between = re.search(r"<!-- table: demo -->\n(.*?)<!-- end -->", text, re.S)
    assert between[1] == formats.markdown(demo)


def test_the_committed_tables_are_rendered_from_the_records(demo):
    for suffix, render in (
        (".md", formats.markdown),
        (".csv", formats.csv),
        (".tex", formats.latex),
    ):
        assert (ROOT / f"results/demo{suffix}").read_text(encoding="utf-8") == render(
            demo
        )


@pytest.mark.slow
@pytest.mark.timeout(
    1800
)  # composes every recipe: minutes, which a busy machine doubles
def test_everything_in_results_is_rendered_from_the_records():
    assert results.changed(RECORDS, ROOT / "results", published.FOLDER) == []


def test_commands_name_recipes_choices_and_modules_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8") + (
        ROOT / "CONTRIBUTING.md"
    ).read_text(encoding="utf-8")
    for recipe in re.findall(r"\+experiment=(\w+)", text):
        assert recipe in recipes.names()
    for module in re.findall(r"-m (experiments\.\w+)", text):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()
    for group, choice in re.findall(r"(?<![.\w])(model|merge|tasks)=(\w+)", text):
        if choice != "my_method":
            assert (ROOT / f"conf/{group}/{choice}.yaml").exists(), f"{group}={choice}"


def test_links_lead_somewhere():
    for page in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(
            r"\]\((?!http)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")
        ):
            assert (ROOT / link).exists(), link
