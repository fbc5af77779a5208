"""AdaMerging: its gradients by the definition, its steps, its coefficients."""

from functools import partial

import pytest
import torch

from baselines import adamerging, ties
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.sparsify.cut_stream import Sparse
from tadrop.sparsify.magnitude import Magnitude
from tadrop.types import TadropError
from tests import tiny
from tests.baselines.refining import put, refine, summed, untouched


def adapted(bench, stream, wise="layer", **knobs):
    """The result of a few steps on test inputs."""
    few = {"split": "test", "seed": 0, "steps": 3, "size": 8}
    merged = untouched(stream)
    return refine(adamerging.adapt, merged, stream, bench, wise=wise, **few | knobs)


def coefficients_of(merged, stream, name):
    """The coefficients that make a merged tensor of its task vectors, [task] float64."""
    taus = stream.taus(name).flatten(1).double()
    delta = merged.delta("t0", name).flatten().double()
    return torch.linalg.lstsq(taus.T, delta).solution


def moved(bench, stream, coefficients):
    """The base plus the weighted task vectors, [task, tensor] coefficients, by einsum."""
    for column, name in enumerate(stream.names):
        taus = stream.taus(name)
        delta = torch.einsum("t,t...->...", coefficients[:, column], taus)
        yield name, bench.theta0(name) + delta


def entropies(bench, batches):
    """The tasks' summed mean entropies for the weights that are in the module."""
    total = 0.0
    for task, batch in batches.items():
        bench.equip(task)
        with torch.no_grad():
            p = bench.module(batch).double().softmax(-1)
        total += float(-(p * p.log()).sum(-1).mean())
    return total


def loss_at(bench, stream, coefficients, batches):
    """The summed entropy as a function of the coefficients, by the definition."""
    bench.load(moved(bench, stream, coefficients))
    return entropies(bench, batches)


def test_the_gradient_by_the_coefficients_is_the_slope_of_the_entropy(bench):
    stream = tiny.stream(bench)
    plain = adamerging.plain(stream)
    batches = {task: bench.tasks.inputs(task, "test")[:8] for task in stream.tasks}
    at = 0.3 + 0.1 * tiny.normal(3, len(stream.names), words="coefficients")
    deltas = adamerging.weighted(stream, plain, at)
    bench.load((name, bench.theta0(name) + delta) for name, delta in deltas)
    gradients = adamerging.weight_gradients(bench, stream.names, batches)
    slopes = adamerging.slopes(stream, plain, gradients)
    for t, i in ((0, 0), (1, 2), (2, len(stream.names) - 1)):
        step = torch.zeros_like(at)
        step[t, i] = 1e-2
        above = loss_at(bench, stream, at + step, batches)
        below = loss_at(bench, stream, at - step, batches)
        expected = pytest.approx((above - below) / 2e-2, rel=0.03, abs=2e-3)
        assert slopes[t, i] == expected
    assert not any(p.requires_grad for p in bench.module.parameters())


def test_no_step_is_task_arithmetic(bench):
    stream = tiny.stream(bench)
    start, plain = adapted(bench, stream, steps=0), summed(stream)
    for name in stream.names:
        expected = 0.3 * plain.delta("t0", name)
        torch.testing.assert_close(start.delta("t0", name), expected)
    assert start.is_shared


def test_the_first_step_of_adam_moves_every_coefficient_by_the_rate(bench):
    stream = tiny.stream(bench)
    merged = adapted(bench, stream, steps=1, rate=0.01)
    distance = (coefficients_of(merged, stream, "first.weight") - 0.3).abs()
    expected = torch.full((3,), 0.01).double()
    torch.testing.assert_close(distance, expected, rtol=0.02, atol=1e-5)


def test_adaptation_lowers_the_entropy(bench):
    stream = tiny.stream(bench)
    batches = {task: bench.tasks.inputs(task, "test") for task in stream.tasks}
    at = torch.full((3, len(stream.names)), 0.3)
    before = loss_at(bench, stream, at, batches)

    def after(wise):
        merged = adapted(bench, stream, wise, steps=40, rate=0.01, size=24)
        put(bench, merged, "t0")
        total = 0.0
        for task, batch in batches.items():
            bench.equip(task)
            total += float(adamerging.entropy(bench.module(batch)))
        return total

    task_wise, layer_wise = after("task"), after("layer")
    assert layer_wise < task_wise < before


def test_coefficients_stay_between_0_and_1(bench):
    stream = tiny.stream(bench)
    merged = adapted(bench, stream, steps=5, rate=10.0)
    coefficients = coefficients_of(merged, stream, "second.weight")
    assert ((coefficients > -1e-5) & (coefficients < 1 + 1e-5)).all()
    assert ((coefficients < 1e-5) | (coefficients > 1 - 1e-5)).any()


def test_a_coefficient_beyond_1_is_used_as_1_and_stays(bench):
    stream = tiny.stream(bench)
    merged, plain = adapted(bench, stream, init=1.5, steps=1, rate=1.0), summed(stream)
    for name in stream.names:
        torch.testing.assert_close(merged.delta("t0", name), plain.delta("t0", name))


def test_task_wise_has_one_coefficient_a_task(bench):
    stream = tiny.stream(bench)
    merged = adapted(bench, stream, "task", steps=4, rate=0.05)
    first = coefficients_of(merged, stream, "first.weight")
    second = coefficients_of(merged, stream, "second.weight")
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


def test_plus_plus_adds_up_to_ties_with_its_sum(bench):
    stream = Sparse(tiny.stream(bench), Magnitude(0.5, count="ties", scope="model"))
    merged = adapted(bench, stream, steps=0, view=adamerging.elected)
    formula = partial(ties.merge, combine="sum")
    plain = merge(stream, Method(formula, survey=ties.survey))
    for name in stream.names:
        expected = 0.3 * plain.delta("t0", name)
        torch.testing.assert_close(merged.delta("t0", name), expected)


def test_adaptation_twice_gives_the_same_bits_and_another_seed_others(bench):
    stream = tiny.stream(bench)
    runs = [adapted(bench, stream, seed=seed) for seed in (0, 0, 1)]
    deltas = [run.delta("t0", "first.weight") for run in runs]
    assert torch.equal(deltas[0], deltas[1])
    assert not torch.equal(deltas[0], deltas[2])


def test_wise_is_task_or_layer(bench):
    with pytest.raises(TadropError, match="task or layer"):
        adapted(bench, tiny.stream(bench), wise="block")
