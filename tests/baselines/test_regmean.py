"""RegMean against least squares."""

from functools import partial

import pytest
import torch

from baselines import average, regmean
from tadrop.evaluation.statistics import Measurement, gather
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.types import Slot, TadropError
from tests import tiny
from tests.evaluation.measuring import merged_names, on_task


def test_gram_matrices_are_those_of_the_layers_inputs(bench):
    module, inputs = on_task(bench), bench.tasks.inputs("t0", "train")[:10]
    grams = regmean.gram(
        module, iter(inputs.split(3)), bench.slots(merged_names(bench))
    )
    assert set(grams) == {"first.weight", "second.weight"}
    hidden = torch.tanh(module.norm(module.first(inputs)))
    torch.testing.assert_close(grams["first.weight"], inputs.T @ inputs / 10)
    torch.testing.assert_close(grams["second.weight"], hidden.T @ hidden / 10)


def test_regmean_solves_the_normal_equations():
    x = [tiny.normal(40, 6, words=("x", t)).double() for t in range(3)]
    theta = torch.stack([tiny.normal(5, 6, words=("w", t)) for t in range(3)])
    theta0 = tiny.normal(5, 6, words="w0")
    grams = torch.stack([each.T @ each for each in x])
    found = theta0 + regmean.merge(theta - theta0, grams, off_diagonal=1.0)[0]
    outputs = torch.cat([each @ w.double().T for each, w in zip(x, theta, strict=True)])
    expected = torch.linalg.lstsq(
        torch.cat(x), outputs
    ).solution.T  # min sum_t |X_t W' - X_t W_t'|^2
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_regmeans_off_diagonal_factor():
    taus = torch.stack([tiny.normal(2, 3, words=("w", t)) for t in range(2)])
    x = torch.stack([tiny.normal(9, 3, words=("x", t)) for t in range(2)])
    grams = x.mT @ x
    diagonals = grams.diagonal(dim1=1, dim2=2)
    expected = (taus * diagonals[:, None]).sum(0) / diagonals.sum(0)
    torch.testing.assert_close(
        regmean.merge(taus, grams, off_diagonal=0.0)[0], expected
    )
    half = grams.clone()
    half[:, ~torch.eye(3, dtype=bool)] *= 0.5
    expected = (taus @ half).sum(0) @ torch.linalg.inv(half.sum(0))
    torch.testing.assert_close(
        regmean.merge(taus, grams, off_diagonal=0.5)[0], expected, rtol=1e-4, atol=1e-5
    )


def test_regmean_takes_the_mean_where_no_input_points():
    taus = torch.tensor([[[2.0, 4.0]], [[6.0, 8.0]]])
    x = torch.tensor(
        [[[1.0, 0.0]], [[2.0, 0.0]]]
    )  # the second input is always 0: singular
    found = regmean.merge(taus, x.mT @ x, off_diagonal=1.0)
    torch.testing.assert_close(found, torch.tensor([[[(2 * 1 + 6 * 4) / 5, 6.0]]]))
    zero = regmean.merge(taus, torch.zeros(2, 2, 2), off_diagonal=1.0)
    torch.testing.assert_close(zero, average.merge(taus))


def test_regmean_hears_a_quiet_neuron():
    x = torch.stack(
        [tiny.normal(30, 3, words=("x", t)) for t in range(2)]
    ) * torch.tensor([1.0, 1e-5, 1.0])
    taus = torch.stack([tiny.normal(2, 3, words=("w", t)) for t in range(2)])
    grams = x.double().mT @ x.double()
    expected = (taus.double() @ grams).sum(0) @ torch.linalg.inv(grams.sum(0))
    found = regmean.merge(taus, grams, off_diagonal=1.0)[0]
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_regmean_with_fewer_examples_than_inputs_is_finite_and_fits_them():
    x, taus = tiny.normal(2, 3, 8, words="x"), tiny.normal(2, 4, 8, words="w")
    found = regmean.merge(taus, x.mT @ x, off_diagonal=1.0)[0]
    assert found.abs().max() < 10 * taus.abs().max()
    torch.testing.assert_close(
        x @ found.T, x @ taus.mT, rtol=1e-2, atol=1e-3
    )  # 6 equations, 8 unknowns: an exact fit


def test_regmean_beats_averaging_on_the_models_outputs(bench, tmp_path):
    stream = tiny.stream(bench)
    measurement = Measurement(regmean.gram, "train", 20, 8)
    method = Method(
        partial(regmean.merge, off_diagonal=1.0),
        "matrix",
        rest=average.merge,
        kinds=("linear",),
    )
    statistics = gather(measurement, bench, stream.names, tmp_path / "cache")
    ours, mean = (
        merge(stream, method, statistics=statistics),
        merge(stream, Method(average.merge)),
    )

    def error(merged):
        delta, total = merged.delta("t0", "first.weight"), 0
        for task, tau in zip(stream.tasks, stream.taus("first.weight"), strict=True):
            total += float(
                ((delta - tau) @ bench.tasks.inputs(task, "train").T).square().sum()
            )
        return total

    assert error(ours) < 0.9 * error(mean)
    assert torch.allclose(ours.delta("t0", "norm.bias"), mean.delta("t0", "norm.bias"))


def test_a_gram_matrix_is_divided_by_tokens_so_that_long_texts_weigh_no_more():
    """Two tasks see the same kinds of tokens, one of them in texts eight times as long."""
    layer = torch.nn.Sequential(torch.nn.Linear(4, 3, bias=False))
    slots = {"w": Slot("0.weight", (3, 4), (3, 4), (4, 1), 0)}
    tokens = tiny.normal(16, 4, words="tokens")
    short, long = tokens.view(8, 2, 4), tokens.view(1, 16, 4)
    by_token = [regmean.gram(layer, iter([x]), slots)["w"] for x in (short, long)]
    torch.testing.assert_close(by_token[0], tokens.T @ tokens / 16)
    torch.testing.assert_close(by_token[1], by_token[0])
    by_example = regmean.gram(layer, iter([short]), slots, per="example")["w"]
    torch.testing.assert_close(by_example, tokens.T @ tokens / 8)
    with pytest.raises(TadropError, match="token or example"):
        regmean.gram(layer, iter([short]), slots, per="text")
