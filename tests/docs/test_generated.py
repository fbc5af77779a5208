"""What of the pages a command makes is complete, and reads from files that are there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.generate import boards, catalogue, commands, configuration, methods, readme
from docs.generate.values import filled
from tadrop.app.boards.catalogue import merge_rows
from tadrop.app.command import verbs
from tadrop.app.places import CONF

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def test_the_readme_and_its_picture_are_what_the_command_makes():
    assert readme.stale() == []


def test_a_stale_readme_is_told_by_name(tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    text = readme.README.read_text(encoding="utf-8")
    page.write_text(text.replace(" rows:", " row:"), encoding="utf-8")
    monkeypatch.setattr(readme, "README", page)
    assert readme.stale() == ["README.md"]


def test_the_picture_fetches_nothing():
    text = readme.written()
    assert re.findall(r"https?://[^\"\s]+", text) == ["http://www.w3.org/2000/svg"]
    assert "@font-face" not in text
    assert "url(http" not in text


def test_every_row_has_a_page_with_its_paper_formula_and_defaults():
    pages = methods.pages()
    assert {f"methods/{name}.md" for name in merge_rows()} == pages.keys() - {
        "methods/index.md"
    }
    for shown in catalogue.shown_rows():
        page = pages[f"methods/{shown.row.name}.md"]
        assert (CONF / "merge" / f"{shown.row.name}.yaml").read_text().strip() in page
        if shown.row.paper:
            assert shown.row.paper.removeprefix("arXiv ") in page
        assert shown.formulas, shown.row.name
        for module in shown.formulas:
            assert catalogue.docstring(module).split("\n")[0] in page
    departures = [page for page in pages.values() if "### Departures" in page]
    assert len(departures) > 15


def test_a_row_that_stands_in_a_committed_table_says_what_it_stores():
    on_boards: set[str] = set()
    for name in catalogue.MEASURED:
        on_boards |= {line["method"] for line in catalogue.plain_rows(name)}
    for one in catalogue.merging_rows():
        assert (one.stored is not None) == (one.row.title in on_boards), one.row.name
    stored = {one.row.name: one.stored for one in catalogue.merging_rows()}
    assert stored["average"] == pytest.approx(1)
    # A bit an entry and task, of the tensors too that no task has changed.
    assert 1 + 8 / 32 <= stored["emr"] < 1.3


def test_the_reference_has_every_file_and_key_of_the_configuration():
    page = configuration.page()
    for group in CONF.iterdir():
        if group.is_dir() and group.name not in configuration.APART:
            for path in group.rglob("[!_]*.yaml"):
                assert f"\n### {path.stem}\n" in page, path
    for key in (
        "`seed`",
        "`export.dir`",
        "`paths.cache`",
        "`tadrop.q_lo`",
        "`save_every`",
    ):
        assert f"| {key} |" in page
    assert "| `select` | fixed or grid | `fixed` |" in page


def test_comments_that_go_on_are_whole():
    found = configuration.comments(CONF / "config.yaml")
    assert found["before"].endswith("or that where it is off")
    assert found["export.dir"].startswith("write what was merged")


def test_every_verb_is_in_the_reference_of_commands():
    page = commands.page()
    for verb in verbs():
        assert f"## `tadrop {verb}`" in page
    assert "--leave-out" in page


def test_every_committed_table_and_figure_has_a_place():
    pages = boards.pages()
    for path in (ROOT / "results").glob("*.md"):
        assert f"results/{path.name}" in pages
    text = "\n".join(pages.values())
    text += (ROOT / "docs/results/index.md").read_text(encoding="utf-8")
    for path in (ROOT / "results").glob("*.svg"):
        assert f"({path.name})" in text, path


def test_numbers_in_pages_come_from_tables():
    table = (ROOT / "results" / "demo.md").read_text(encoding="utf-8")
    ties, adaptive = re.search(r"^\| TIES (.*)\n(.*TADrop.*)", table, re.M).groups()
    assert f"| {filled('{{demo; TIES; ; average}}')} |" in ties
    assert f"| {filled('{{demo; TIES; + TADrop; difference}}')} |" in adaptive
    assert f"| {filled('{{demo; TIES; + TADrop; versus}}')} |" in adaptive
    with pytest.raises(
        ValueError, match=r"results/demo\.md has no row TIIES \+ TADrop"
    ):
        filled("{{demo; TIIES; + TADrop; difference}}")
    with pytest.raises(ValueError, match="the table says nothing there"):
        filled("{{demo; TIES; ; versus}}")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_of_pages_name_verbs_choices_and_modules_that_exist(page):
    text = page.read_text(encoding="utf-8")
    for verb in re.findall(r"^(?:`)?tadrop (\w+)", text, re.M):
        assert verb in {"run", *verbs()}, verb
    for group, choice in re.findall(r"(?<![.\w])(model|merge|tasks)=(\w+)", text):
        known = (CONF / group / f"{choice}.yaml").exists()
        assert known or choice == "my_method", f"{group}={choice}"
    for board in re.findall(r"\+board=(\w+)", text):
        assert (CONF / "board" / f"{board}.yaml").exists(), board
    for module in re.findall(r"-m (experiments\.\w+)", text):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()
    for path in re.findall(
        r"`((?:tadrop|conf|tests|baselines|results)/[\w./]+)`", text
    ):
        named = path.rstrip("/")
        exists = (ROOT / named).exists() or "NAME" in named or "my_method" in named
        assert exists or named.isupper() or re.search("[A-Z]{3}", named), path


def test_the_check_of_make_docs_says_what_is_stale(tmp_path):
    """The command ends with an error, and names the command that helps."""
    code = (
        "import sys; from docs.generate import readme; "
        "readme.picture = lambda: ''; sys.argv = ['', '--check']; readme.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: docs/images/demo.svg: stale; python -m docs.generate.readme\n"
    )


def test_aligned_lists_of_docstrings_become_lists():
    text = """A rule.

q_lo, q_hi: two quantiles
norm:       what is restored:
            none or l1

scope
    Whole tensors.
kinds, fused
    Which matrices.

Prose of two lines that
goes on.

    code = 1"""
    expected = """A rule.

- `q_lo, q_hi`: two quantiles
- `norm`: what is restored: none or l1

- `scope`: Whole tensors.
- `kinds, fused`: Which matrices.

Prose of two lines that
goes on.

    code = 1"""
    assert commands.listed(text) == expected
