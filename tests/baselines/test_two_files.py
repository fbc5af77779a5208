"""Rows as a user meets them: listed by --help, and added in two files."""

import re
from textwrap import dedent

import pytest

from tadrop.app.boards.catalogue import listing
from tests import copies
from tests.copies import ROOT

ASSETS = ROOT / "tadrop/assets/glyph_vit"


def test_help_lists_every_row_with_its_paper():
    printed = copies.python(ROOT, "run.py", "--help")
    for path in (ROOT / "conf/merge").glob("*.yaml"):
        assert f"\n{path.stem:<20} " in printed, path.stem
    assert "Task Singular Vectors, merged" in printed
    assert "[arXiv 2412.00081]" in printed
    assert listing() in printed


def example():
    """The files that CONTRIBUTING.md adds a method with: text by path."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Add a method in two files")[1].split("\n## ")[0]
    item = re.compile(r"^\d\. `([^`]+)`.*?^ +```\w+\n(.*?)^ +```", re.M | re.S)
    return {path: dedent(code) for path, code in item.findall(section)}


@pytest.mark.skipif(
    not (ASSETS / "hebrew.safetensors").exists(),
    reason="the embedded checkpoints are not here",
)
def test_a_method_is_two_files(tmp_path):
    files = example()
    assert set(files) == {"baselines/my_method.py", "conf/merge/my_method.yaml"}
    folder = copies.copy_repository(tmp_path)
    for path, text in files.items():
        (folder / path).write_text(text, encoding="utf-8")
    words = ("tasks.names=[latin_upper,hebrew]", "limit=20")
    cache = f"paths.cache={ROOT / 'runs/cache'}"
    printed = copies.python(folder, "run.py", "merge=my_method", *words, cache)
    assert "My Method" in printed
    assert len(list((folder / "runs/records").glob("*.json"))) == 3
    assert "my_method" in copies.python(folder, "run.py", "--help")
