"""Inputs in an order that words decide."""

import pytest
import torch
from torch import nn

from tadrop.evaluation import samples
from tadrop.types import TadropError
from tests import tiny


def test_samples_are_shuffled_whole_and_only_by_words(bench):
    inputs = bench.tasks.inputs("t0", "test")
    once, twice, other = (
        torch.cat(list(samples.shuffled(bench.tasks, "t0", "test", 5, word)))
        for word in ("a", "a", "b")
    )
    assert torch.equal(once, twice)
    assert not torch.equal(once, other)
    assert torch.equal(once.sort(0).values, inputs.sort(0).values)
    assert [len(b) for b in samples.shuffled(bench.tasks, "t0", "test", 5)] == [
        5,
        5,
        5,
        5,
        4,
    ]


def test_a_window_bounds_what_is_held(bench, monkeypatch):
    monkeypatch.setattr(samples, "WINDOW", 10)
    batches = list(samples.shuffled(bench.tasks, "t0", "test", 4, "a"))
    assert [len(b) for b in batches] == [4] * 6
    assert torch.equal(
        torch.cat(batches).sort(0).values,
        bench.tasks.inputs("t0", "test").sort(0).values,
    )


def test_first_gives_as_many_as_there_are(bench):
    assert [len(b) for b in samples.first(bench.tasks, "t0", "train", 7, 3)] == [
        3,
        3,
        1,
    ]
    assert sum(len(b) for b in samples.first(bench.tasks, "t0", "train", 99, 3)) == 20


def test_an_empty_split_is_an_error(tmp_path):
    bench = tiny.bench(tmp_path, sizes={"test": 0})
    with pytest.raises(TadropError, match="no examples"):
        next(samples.endless(bench.tasks, "t0", "test", 4))


class Texts(tiny.TinyTasks):
    """Rows of token ids from 10 x row on, as long as the row's number, shortest first."""

    def batches(self, task, split):
        for first in (1, 4, 7):
            rows = [torch.arange(10 * n, 11 * n) for n in range(first, first + 3)]
            yield (
                nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1),
                torch.zeros(3),
            )


@pytest.mark.parametrize("window", [4, 4096])
def test_texts_of_any_length_are_mixed_and_padded_no_more_than_need_be(
    monkeypatch, window
):
    monkeypatch.setattr(samples, "WINDOW", window)
    batches = list(samples.shuffled(Texts(("t",), {}), "t", "train", 4))
    texts = [[int(i) for i in row if i >= 0] for batch in batches for row in batch]
    assert sorted(texts) == [list(range(10 * n, 11 * n)) for n in range(1, 10)]
    assert all(batch.shape[1] == int((batch >= 0).sum(1).max()) for batch in batches)
    assert [len(t) for t in texts] != sorted(len(t) for t in texts)
