"""Committed tables are what the committed records give, byte for byte, and the README's
commands name things that exist. What else of the README is generated: tests/docs.
"""

import re
from pathlib import Path

import pytest

from tadrop.app.boards.board import Board
from tadrop.app.boards.catalogue import board_names
from tadrop.app.boards.contents import Sources, contents
from tadrop.app.boards.recorded import collect
from tadrop.app.verbs.boards import results
from tadrop.results import formats
from tests import copies
from tests.baselines.test_two_files import example

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "results" / "records"
SOURCES = Sources(RECORDS, ROOT / "results" / "published")


@pytest.fixture(scope="module")
def demo():
    tables, _ = contents(collect(Board("demo"), RECORDS), SOURCES, draw=False)
    return tables["demo"]


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
@pytest.mark.timeout(900)
def test_everything_in_results_is_rendered_from_the_records():
    boards = results.chosen(RECORDS)
    assert results.changed(boards, SOURCES, ROOT / "results") == []


def with_a_method(folder):
    """A copy of the repository with the method of CONTRIBUTING.md, on every board."""
    copies.copy_repository(folder)
    for part in ("results", "docs", "README.md", "CITATION.cff", "pyproject.toml"):
        (folder / part).symlink_to(ROOT / part)
    for path, text in example().items():
        (folder / path).write_text(text, encoding="utf-8")
    return folder


UNCHANGED = "every table in results is what the records give"
CHECK = ("-m", "tadrop", "results", "--check")
ROWS = "from tadrop.app.boards.catalogue import rows_of; print(rows_of('table_30'))"
PAGES = "from docs.generate import methods; print(*methods.pages())"


def test_a_method_is_added_and_no_page_is_stale(tmp_path):
    """The tables too: the next test."""
    folder = with_a_method(tmp_path)
    copies.python(folder, "-m", "docs.generate.readme", "--check")
    rows, pages = copies.python(folder, "-c", f"{ROWS}\n{PAGES}").splitlines()
    assert "my_method" in rows
    assert "methods/my_method.md" in pages


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_method_is_added_and_nothing_is_stale(tmp_path):
    folder = with_a_method(tmp_path)
    board = ("run.py", "+board=table_30", "tasks=glyph30", "--dry-run")
    assert "My Method + TADrop" in copies.python(folder, *board)
    assert UNCHANGED in copies.python(folder, *CHECK)


def test_what_is_owed_stands_in_no_table():
    for path in (ROOT / "results").glob("*.md"):
        assert "Not recorded" not in path.read_text(encoding="utf-8"), path


def test_commands_name_boards_choices_and_modules_that_exist():
    text = ""
    for page in ("README.md", "CONTRIBUTING.md", "Makefile"):
        text += (ROOT / page).read_text(encoding="utf-8")
    assert "+experiment=" not in text
    for board in re.findall(r"\+board=(\w+)", text):
        assert board in board_names()
    for module in re.findall(r"-m (experiments(?:\.\w+)+)", text):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()
    for group, choice in re.findall(r"(?<![.\w])(model|merge|tasks)=(\w+)", text):
        if choice != "my_method":
            assert (ROOT / f"conf/{group}/{choice}.yaml").exists(), f"{group}={choice}"


def test_the_first_result_is_on_the_first_screen():
    """What to type, and a picture of what it prints, within thirty lines."""
    first = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:30]
    assert any(line.startswith("make demo") for line in first)
    assert any("docs/images/demo.svg" in line for line in first)


def test_links_lead_somewhere():
    for page in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
        for link in re.findall(
            r"\]\((?!http)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")
        ):
            assert (ROOT / link).exists(), link
