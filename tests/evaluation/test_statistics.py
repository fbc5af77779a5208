"""Statistics from data: Fisher diagonals and Gram matrices against slow, obvious references; cache
and samples.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines import average, fisher, regmean
from tadrop.evaluation import samples
from tadrop.evaluation.statistics import Measurement, TaskStatistics, gather
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.modules import batches as batching
from tadrop.modules.slots import locate
from tadrop.modules.taps import tapped
from tadrop.types import TadropError
from tests import tiny


@pytest.fixture
def bench(tmp_path):
    return tiny.bench(tmp_path)


def merged_names(bench):
    return tuple(sorted(bench.base.tensors))


def on_task(bench, task="t0"):
    """The module with a task's own weights and head in it."""
    bench.load(bench.expert(task, merged_names(bench)))
    bench.equip(task)
    return bench.module


def looped_fisher(module, inputs, names):
    """By the book: one example and one class at a time, p_c times the squared gradient of log p_c."""
    module.requires_grad_(True)
    leaves = dict(module.named_parameters())
    totals = {name: torch.zeros_like(leaves[name]) for name in names}
    for example in inputs:
        p = module(example[None]).softmax(-1)[0].detach()
        for c in range(len(p)):
            module.zero_grad()
            module(example[None]).log_softmax(-1)[0, c].backward()
            for name in names:
                totals[name] += p[c] * leaves[name].grad ** 2
    module.zero_grad()
    module.requires_grad_(False)
    return {name: total / len(inputs) for name, total in totals.items()}


def test_exact_fisher_is_the_sum_over_examples_and_classes(bench):
    names, inputs = merged_names(bench), bench.tasks.inputs("t0", "train")[:9]
    module = on_task(bench)
    expected = looped_fisher(module, inputs, names)
    found = fisher.exact(module, iter(inputs.split(4)), bench.slots(names))
    assert set(found) == set(names)
    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-7)
    assert not any(p.requires_grad for p in module.parameters())


def test_only_the_exact_fisher_does_not_depend_on_the_batch_size(bench):
    names, inputs = merged_names(bench), bench.tasks.inputs("t0", "train")[:12]
    module = on_task(bench)
    exact = [
        fisher.exact(module, iter(inputs.split(size)), bench.slots(names))
        for size in (3, 12)
    ]
    ports = [
        fisher.batch_squared(module, iter(inputs.split(size)), bench.slots(names))
        for size in (3, 12)
    ]
    for name in names:
        torch.testing.assert_close(exact[0][name], exact[1][name])
        assert not torch.allclose(ports[0][name], ports[1][name], rtol=0.01)


def test_batch_squared_is_the_square_of_the_batchs_gradient(bench):
    names, inputs = merged_names(bench), bench.tasks.inputs("t0", "train")[:6]
    module = on_task(bench)
    found = fisher.batch_squared(module, iter([inputs]), bench.slots(names))
    weight = module.first.weight.requires_grad_()
    p = module(inputs).softmax(-1)
    (p.detach().sqrt() * p.log()).sum().backward()
    torch.testing.assert_close(
        found["first.weight"], weight.grad**2 / 6, rtol=1e-4, atol=1e-8
    )


FISHER = Method(fisher.merge, survey=fisher.survey)


def fisher_measurement(**changes):
    return Measurement(
        **(
            {"collect": fisher.exact, "split": "train", "examples": 8, "batch": 4}
            | changes
        )
    )


def test_fisher_merge_is_the_weighted_mean_of_the_models(bench, tmp_path):
    stream = tiny.stream(bench)
    statistics = gather(fisher_measurement(), bench, stream.names, tmp_path / "cache")
    merged = merge(stream, FISHER, statistics=statistics)
    diagonals = {name: statistics.read(name) for name in stream.names}
    norms = sum(d.flatten(1).square().sum(1) for d in diagonals.values()).sqrt()
    for name in stream.names:
        theta = torch.stack([expert[name] for expert in bench.experts.values()])
        weights = diagonals[name] / norms.view(-1, *[1] * (theta.dim() - 1)) + 1e-6
        expected = (weights * theta).sum(0) / weights.sum(0)
        torch.testing.assert_close(
            bench.base[name] + merged.delta("t0", name), expected, rtol=1e-4, atol=1e-5
        )


def test_the_ports_add_the_floor_before_they_weigh(bench, tmp_path):
    """fisher_batch, as MergeLM: w_t = 1 / (|F_t| + f), theta = sum w_t (F_t + f) theta_t / sum w_t
    (F_t + f).
    """
    stream = tiny.stream(bench)
    statistics = gather(fisher_measurement(), bench, stream.names, tmp_path / "cache")
    ports = Method(
        partial(fisher.merge, floored="information", floor=0.1),
        survey=partial(fisher.survey, floor=0.1),
    )  # a floor that is seen
    merged = merge(stream, ports, statistics=statistics)
    diagonals = {name: statistics.read(name).double().numpy() for name in stream.names}
    tasks = range(len(bench.experts))
    norms = [
        np.sqrt(sum((d[t] ** 2).sum() for d in diagonals.values())) + 0.1 for t in tasks
    ]
    for name in stream.names:
        theta = [expert[name].double().numpy() for expert in bench.experts.values()]
        weights = [(diagonals[name][t] + 0.1) / norms[t] for t in tasks]
        expected = sum(w * one for w, one in zip(weights, theta, strict=True)) / sum(
            weights
        )
        found = bench.base[name] + merged.delta("t0", name)
        torch.testing.assert_close(
            found.double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5
        )
    with pytest.raises(TadropError, match="weighted or information"):
        fisher.merge(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2), floored="both")


def test_an_entry_that_no_task_uses_is_averaged():
    taus = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    found = fisher.merge(taus, torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.ones(2))
    torch.testing.assert_close(found, torch.tensor([[2.0, 2.0]]), rtol=1e-4, atol=1e-4)
    assert torch.equal(fisher.merge(taus, None, torch.ones(2)), average.merge(taus))


def test_fisher_weights_are_one_over_the_norm_or_equal(bench, tmp_path):
    stream = tiny.stream(bench)
    statistics = gather(fisher_measurement(), bench, stream.names, tmp_path / "cache")
    flat = torch.cat([statistics.read(name).flatten(1) for name in stream.names], dim=1)
    torch.testing.assert_close(
        fisher.survey(stream, statistics).float(), 1 / flat.norm(dim=1)
    )
    nothing = TaskStatistics(
        {
            t: replace(f, tensors={n: 0 * f[n] for n in f.tensors})
            for t, f in statistics.files.items()
        },
        bench.device,
    )
    assert torch.equal(
        fisher.survey(stream, nothing), torch.ones(3, dtype=torch.float64)
    )
    assert torch.equal(
        fisher.survey(stream, statistics, weights="equal"),
        torch.ones(3, dtype=torch.float64),
    )
    with pytest.raises(TadropError, match="norm or equal"):
        fisher.survey(stream, statistics, weights="all")


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


def test_statistics_are_kept_and_measured_anew_when_anything_changes(bench, tmp_path):
    names, cache = merged_names(bench), tmp_path / "cache"
    first = gather(fisher_measurement(), bench, names, cache)
    files = {f: f.stat().st_mtime_ns for f in cache.rglob("*.safetensors")}
    again = gather(fisher_measurement(), bench, names, cache)
    assert {f: f.stat().st_mtime_ns for f in cache.rglob("*.safetensors")} == files
    assert torch.equal(first.read("first.weight"), again.read("first.weight"))
    for changed in (
        {"examples": 5},
        {"batch": 2},
        {"seed": 1},
        {"collect": fisher.batch_squared},
        {"split": "test"},
    ):
        before = len(list(cache.rglob("*.safetensors")))
        gather(fisher_measurement(**changed), bench, names, cache)
        assert len(list(cache.rglob("*.safetensors"))) == before + len(bench.experts)


def test_the_same_bits_twice(bench, tmp_path):
    names = merged_names(bench)
    for collect in (fisher.exact, fisher.batch_squared, regmean.gram):
        runs = [
            gather(fisher_measurement(collect=collect), bench, names, tmp_path / str(i))
            for i in range(2)
        ]
        for name in ("first.weight", "second.weight"):
            assert torch.equal(runs[0].read(name), runs[1].read(name))


def test_blocks_are_sliced_as_task_vectors_are(bench, tmp_path):
    statistics = gather(
        fisher_measurement(), bench, merged_names(bench), tmp_path / "cache"
    )
    whole = statistics.read("second.weight")
    assert whole.shape == (3, tiny.WIDTH, tiny.WIDTH)
    assert torch.equal(
        statistics.read("second.weight", 5, 17), whole.flatten(1)[:, 5:17]
    )
    assert statistics.read("no such tensor") is None


def own(module):
    """Every parameter under its own name."""
    return locate(module, dict(module.named_parameters()))


def test_taps_see_every_product_and_can_amend_it():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    x, seen = torch.randn(5, 3), []

    def visit(product, output):
        seen.append(
            (product.weight, product.bias, product.inputs.shape[-1], product.transposed)
        )
        return output + 1

    before = F.linear
    with torch.no_grad(), tapped(module, own(module), visit):
        found = module(x)
    assert F.linear is before
    assert seen == [("0.weight", "0.bias", 3, False), ("2.weight", None, 4, False)]
    torch.testing.assert_close(
        found, torch.relu(module[0](x) + 1) @ module[2].weight.T + 1
    )


def test_taps_see_torchs_own_attention():
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    seen = {}

    def visit(product, output):
        seen[product.weight] = (tuple(product.inputs.shape[-1:]), product.transposed)
        return output

    x = torch.randn(2, 3, 8)
    with torch.inference_mode():
        plain = attention(x, x, x, need_weights=False)[0]
        with tapped(attention, own(attention), visit):
            watched = attention(x, x, x, need_weights=False)[0]
    torch.testing.assert_close(plain, watched)
    assert seen == {"in_proj_weight": ((8,), False), "out_proj.weight": ((8,), False)}


@pytest.mark.slow
def test_taps_see_gpt2s_conv1d():
    from transformers.pytorch_utils import Conv1D

    seen = {}

    def visit(product, output):
        seen[product.weight] = (
            product.inputs.shape[-1],
            output.shape[-1],
            product.transposed,
        )
        return output

    conv = Conv1D(6, 4)
    with torch.no_grad(), tapped(conv, own(conv), visit):
        conv(torch.randn(2, 3, 4))
    assert seen == {"weight": (4, 6, True)}


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


class Texts:
    """Rows of token ids that count up from 10 x row, as long as the row's number, shortest first."""

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
    batches = list(samples.shuffled(Texts(), "t", "train", 4))
    texts = [[int(i) for i in row if i >= 0] for batch in batches for row in batch]
    assert sorted(texts) == [list(range(10 * n, 11 * n)) for n in range(1, 10)]
    assert all(batch.shape[1] == int((batch >= 0).sum(1).max()) for batch in batches)
    assert [len(t) for t in texts] != sorted(len(t) for t in texts)


def test_batches_may_be_made_of_several_tensors():
    @dataclass(frozen=True)
    class Both:
        image: torch.Tensor
        ids: torch.Tensor | None = None

    made = [
        Both(torch.arange(3.0) + 10 * i, torch.full((3, 2 + i), i)) for i in range(2)
    ]
    whole = batching.join(made)
    assert batching.count(whole) == 6
    assert whole.ids.tolist()[0] == [0, 0, -1]
    parts = list(batching.split(whole, 4))
    assert [batching.count(part) for part in parts] == [4, 2]
    assert batching.take(whole, torch.tensor([5, 0])).image.tolist() == [12.0, 0.0]
    assert batching.join([Both(torch.ones(1)), Both(torch.ones(2))]).ids is None
    as_mapping = batching.take({"pixels": torch.eye(3), "ids": made[0].ids}, slice(1))
    assert {name: len(tensor) for name, tensor in as_mapping.items()} == {
        "pixels": 1,
        "ids": 1,
    }
