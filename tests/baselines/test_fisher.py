"""Fisher merging against slow, obvious references."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from baselines import average, fisher
from tadrop.evaluation.statistics import TaskStatistics, gather
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.types import TadropError
from tests import tiny
from tests.evaluation.measuring import fisher_measurement, merged_names, on_task


def looped_fisher(module, inputs, names):
    """By the book, one example and class at a time: p_c times the gradient of log p_c squared."""
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


def test_fisher_merge_is_the_weighted_mean_of_the_models(bench, tmp_path):
    stream = tiny.stream(bench)
    statistics = gather(fisher_measurement(), bench, stream.names, tmp_path / "cache")
    merged = merge(stream, FISHER, statistics=statistics)
    diagonals = {name: statistics.read(name) for name in stream.names}
    norms = sum(d.flatten(1).square().sum(1) for d in diagonals.values()).sqrt()
    for name in stream.names:
        theta = torch.stack([expert[name] for expert in bench.experts.values()])
        floored = diagonals[name].clamp(min=1e-6)
        weights = floored / norms.view(-1, *[1] * (theta.dim() - 1))
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
    with pytest.raises(TadropError, match="every, first, information"):
        fisher.merge(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2), floored="both")


def test_the_authors_floor_is_the_least_information_before_it_is_weighed():
    """Theirs is max(F, f); an added one would move the first entry too."""
    taus = torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [5.0, 5.0, 5.0]])
    information = torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.1, 0.0], [2.0, 0.8, 0.0]])
    weights = torch.tensor([1.0, 2.0, 0.5])
    every = fisher.merge(taus, information, weights, floor=0.5)
    raised = torch.tensor([[3.0, 0.5, 0.5], [1.0, 0.5, 0.5], [2.0, 0.8, 0.5]])
    shares = raised * weights[:, None]
    torch.testing.assert_close(every, ((shares * taus).sum(0) / shares.sum(0))[None])
    first = fisher.merge(taus, information, weights, floor=0.5, floored="first")
    raised = torch.tensor([[3.0, 0.5, 0.5], [1.0, 0.1, 0.0], [2.0, 0.8, 0.0]])
    shares = raised * weights[:, None]
    torch.testing.assert_close(first, ((shares * taus).sum(0) / shares.sum(0))[None])
    assert information[0, 1] == 0  # what it was handed stays as it was


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
