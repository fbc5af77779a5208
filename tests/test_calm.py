"""The code reads calmly, and what measures it counts as it should.

`python -m tests.calm FOLDER` shows where it does not.
"""

from itertools import chain
from pathlib import Path
from textwrap import dedent

import pytest

from tests.calm import OURS, measure, sources

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def calm():
    folders = [ROOT / name for name in OURS]
    return measure(chain.from_iterable(map(sources, folders)))


def test_lines_are_short(calm):
    assert calm.characters <= 38
    assert calm.wide <= 0.002


def test_comprehensions_are_rare_and_flat(calm):
    assert calm.comprehensions <= 12
    assert calm.nested == 0


def test_functions_are_small(calm):
    middle, _, most = calm.functions
    assert middle <= 10
    assert most <= 50


def test_what_is_counted(tmp_path):
    text = """
        def first(items):
            return [item for item in items]


        def second(rows):
            return {cell for row in rows for cell in row}


        def third(rows):
            # a comment
            return [[cell for cell in row] for row in rows]
    """
    (tmp_path / "code.py").write_text(dedent(text))
    (tmp_path / "test_code.py").write_text("x = [y for y in z]\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "more.py").write_text("x = [y for y in z]\n")
    calm = measure(sources(tmp_path))
    assert (calm.files, calm.lines) == (1, 7)
    assert calm.comprehensions == pytest.approx(4 * 1000 / 7)
    assert calm.nested == pytest.approx(2 * 1000 / 7)
    assert calm.functions == (2, 3, 3)
    assert calm.wide == 0
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert calm.characters == pytest.approx(len("".join(lines)) / 7)
