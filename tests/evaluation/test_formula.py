"""What a statistic is called in the cache: code may move, only a change of it is seen."""

import sys
from functools import partial
from importlib import import_module

import pytest

from baselines import fisher, regmean
from tadrop.evaluation.formula import formula_hash
from tadrop.evaluation.statistics import Measurement, gather
from tests import tiny

FORMULA = '''"""A formula."""

from torch import zeros_like

FACTOR: float = 2.0
UNUSED = 3


def helper(tensor):
    return FACTOR * tensor  # twice


def other(tensor):
    return 3 * tensor


def collect(module, batches, slots, power=1):
    """Something of the weights."""
    for _ in batches:
        pass
    return {"first.weight": helper(module.first.weight.detach()) ** power}
'''


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a module of some name in some folder and gives its function `collect`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        file = tmp_path / (name.replace(".", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        sys.modules.pop(name, None)
        return import_module(name).collect

    return write


def test_a_formula_keeps_its_name_wherever_it_lies(written):
    name = formula_hash(written("formula_one", FORMULA))
    assert formula_hash(written("formula_room.two", FORMULA)) == name


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  # twice", ""),
        ('"""Something of the weights."""', '"""Other words."""'),
        ('"""A formula."""\n', ""),
        ("UNUSED = 3", "UNUSED = 4"),
        ("3 * tensor", "4 * tensor"),
        ("2.0\n", "(\n    2.0\n)\n"),
    ],
)
def test_what_it_does_not_use_is_no_part_of_it(written, before, after):
    assert FORMULA.count(before) == 1
    name = formula_hash(written("formula_one", FORMULA))
    changed = FORMULA.replace(before, after)
    assert formula_hash(written("formula_three", changed)) == name


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("FACTOR: float = 2.0", "FACTOR: float = 2.5"),
        ("FACTOR * tensor", "tensor / FACTOR"),
        ("power=1", "power=2"),
        ("** power", "+ power"),
    ],
)
def test_what_it_computes_is_all_of_it(written, before, after):
    assert FORMULA.count(before) == 1
    name = formula_hash(written("formula_one", FORMULA))
    changed = FORMULA.replace(before, after)
    assert formula_hash(written("formula_four", changed)) != name


def test_a_cache_outlives_a_move_and_sees_a_change(written, tmp_path):
    bench = tiny.bench(tmp_path)

    def files(collect):
        gather(Measurement(collect, "train", 4, 2), bench, ("first.weight",), tmp_path)
        return len(list((tmp_path / "statistics").iterdir()))

    assert files(written("formula_one", FORMULA)) == 3
    assert files(written("formula_room.two", FORMULA)) == 3
    assert files(partial(written("formula_one", FORMULA), power=3)) == 6
    assert files(written("formula_five", FORMULA.replace("2.0", "2.5"))) == 9


def test_functions_of_one_file_are_told_apart():
    hashes = {
        formula_hash(function)
        for function in (fisher.exact, fisher.batch_squared, regmean.gram)
    }
    assert len(hashes) == 3
