"""The order in which tasks are named changes no bit, but for rows that have a first one.

Rows that see no data are in test_contract.py; here are those that do, and what goes by
the user's order.
"""

from dataclasses import replace
from itertools import permutations, product

import pytest
import torch

from baselines import adamerging, fisher, nps, slerp, smile, surgery, tall, twin
from tadrop.app.runs import build
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.types import MatrixLayout
from tests import tiny
from tests.baselines.authors import config
from tests.baselines.formulas import draw
from tests.baselines.refining import outputs, refine, summed, untouched
from tests.golden import stream_of

SHAPES = {"A": (6, 5), "b": (7,), "c": (2, 3, 4)}
SEEN = {"split": "test", "seed": 0}
TASKS = ("t0", "t1", "t2")


class Known:
    """A statistic of every task and tensor, in the order of a stream's tasks."""

    def __init__(self, tasks, of_matrix):
        self.tasks, self.of_matrix = tasks, of_matrix

    def read(self, name, start=0, stop=None):
        values = [self._of(task, name) for task in self.tasks]
        stacked = torch.stack(values)
        if start == 0 and stop is None:
            return stacked
        return stacked.flatten(1)[:, start:stop]

    def _of(self, task, name):
        if not self.of_matrix:
            return tiny.normal(*SHAPES[name], words=(task, name)).square()
        inputs = tiny.normal(9, SHAPES[name][-1], words=(task, name))
        return inputs.T @ inputs


def in_every_order(taus):
    """The same task vectors as streams, named in every order."""
    for tasks in permutations(taus):
        stream = stream_of({task: taus[task] for task in tasks})
        yield replace(stream, matrix_layouts={"A": MatrixLayout("linear")})


def merged_by(row, stream):
    """{(task, tensor): delta} of a row that has statistics."""
    statistics = Known(stream.tasks, row.startswith("regmean"))
    method = build.part(config(row).merge.method)
    merged = merge(stream, method, statistics=statistics)
    keys = product(sorted(stream.tasks), stream.names)
    return {(task, name): merged.delta(task, name) for task, name in keys}


@pytest.mark.parametrize(
    "row", ["fisher", "fisher_batch", "regmean", "regmean_a60", "regmean_a95"]
)
def test_rows_with_statistics(row):
    first, *others = (
        merged_by(row, stream) for stream in in_every_order(draw(3, **SHAPES))
    )
    for again in others:
        for key, delta in first.items():
            assert torch.equal(again[key], delta), key


def adapted(bench, stream, **words):
    words = SEEN | {"steps": 2, "size": 8} | words
    return refine(adamerging.adapt, untouched(stream), stream, bench, **words)


def weighed(bench, stream):
    words = {"split": "validation", "seed": 0, "evaluations": 5, "sigma": 0.3}
    vectors = nps.weigh(stream, bench, lambda: None, bands=2, **words)
    words |= {"start": 1.0, "fuse": "disjoint"}
    return refine(nps.mix, untouched(vectors), vectors, bench, **words)


REFINED = {
    "adamerging": lambda bench, stream: adapted(bench, stream, wise="layer"),
    "adamerging_task_plus": lambda bench, stream: adapted(
        bench, stream, wise="task", view=adamerging.elected
    ),
    "surgery": lambda bench, stream: refine(
        surgery.adapt, summed(stream), stream, bench, 0.3, rank=2, steps=2, **SEEN
    ),
    "smile": lambda bench, stream: refine(
        smile.build, untouched(stream), stream, bench, keep=0.5
    ),
    "twin": lambda bench, stream: refine(
        twin.build,
        summed(stream),
        stream,
        bench,
        split="train",
        seed=0,
        epochs=2,
        size=16,
    ),
    "nps": weighed,
}


@pytest.mark.parametrize("row", REFINED)
def test_rows_that_look_at_data(row, bench):
    answers = []
    for tasks in (TASKS, ("t2", "t0", "t1")):
        experts = {task: bench.experts[task] for task in tasks}
        stream = replace(tiny.stream(bench), experts=experts)
        merged = REFINED[row](bench, stream)
        inputs = bench.tasks.inputs("t0", "test")
        answers.append([outputs(bench, merged, task, inputs) for task in TASKS])
    for first, second in zip(*answers, strict=True):
        assert torch.equal(first, second)


def test_values_a_task_belong_to_the_tasks_as_the_user_named_them():
    taus = draw(3, **SHAPES)
    lambdas = {"t0": 0.2, "t1": 0.5, "t2": 0.9}
    expected = {}
    for stream in in_every_order(taus):
        named = [stream.tasks[index] for index in stream.order]
        values = [lambdas[task] for task in named]
        for function in (tall.merge, tall.consensus):

            def formula(taus, order, function=function, values=values):
                return function(taus, lambdas=values, order=order)

            merged = merge(stream, Method(formula, needs=["order"]))
            for task, name in product(lambdas, SHAPES):
                delta = merged.delta(task, name)
                known = expected.setdefault((function, task, name), delta)
                assert torch.equal(delta, known)
    stacked = torch.stack([taus[task]["A"] for task in lambdas])
    multi = torch.ones_like(stacked[:1])
    own = tall.masks(stacked, multi, [0.2, 0.5, 0.9])
    turned = tall.masks(stacked, multi, [0.9, 0.2, 0.5], (2, 0, 1))
    assert torch.equal(own, turned)


def test_slerp_goes_from_the_model_that_was_named_first():
    taus = draw(2, A=(4, 5))
    method = Method(
        lambda taus, theta0, order: slerp.merge(taus, theta0, order, t=0.0),
        scope="tensor",
        needs=["theta0", "order"],
    )
    for stream in in_every_order(taus):
        first = stream.tasks[stream.order[0]]
        delta = merge(stream, method).delta("t0", "A")
        torch.testing.assert_close(delta, taus[first]["A"])


def test_fisher_favours_the_model_that_was_named_first():
    taus = torch.tensor([[1.0], [3.0]])
    information, weights = torch.tensor([[0.0], [1.0]]), torch.ones(2)

    def floored(order):
        words = {"floor": 1.0, "floored": "first", "order": order}
        return float(fisher.merge(taus, information, weights, **words))

    assert floored((0, 1)) == 2.0
    assert floored((1, 0)) == 3.0
