"""Every method against values worked out by hand or in float64 numpy, not by this code."""

from functools import partial

import pytest
import torch
from torch import tensor

from baselines import average, emr, reference, task_arithmetic, ties
from tadrop.app.runs import build
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.sparsify.cut_stream import Sparse, all_cuts
from tadrop.sparsify.magnitude import Magnitude
from tests.baselines.authors import config
from tests.golden import TAUS, flat, golden, stream_of

TIES = {"survey": ties.survey}
EMR = {"merge": emr.merge, "tally": emr.tally}


def delta(stream, method, task="t1"):
    merged = merge(stream, method)
    return flat({name: merged.delta(task, name) for name in stream.names})


def test_task_arithmetic_is_the_sum():
    expected = tensor([5, -2.5, 1, 0, 0, 5, 0.75, -1, 0, 0.3])
    merged = delta(golden(), Method(task_arithmetic.merge))
    torch.testing.assert_close(merged, expected, atol=1e-6, rtol=0)


def test_average_is_the_mean():
    expected = tensor([5, -2.5, 1, 0, 0, 5, 0.75, -1, 0, 0.3]) / 3
    merged = delta(golden(), Method(average.merge))
    torch.testing.assert_close(merged, expected, atol=1e-6, rtol=0)


def trimmed():
    return Sparse(golden(), Magnitude(0.5, count="ties", scope="model"))


def test_ties_trim_keeps_the_authors_count():
    stream = trimmed()
    cuts = all_cuts(stream)
    for index, task in enumerate(("t1", "t2", "t3")):
        assert cuts[task, "model"].kept == 6
        vector = flat({name: stream.taus(name)[index] for name in "Ab"})
        assert int((vector != 0).sum()) == 6


def test_ties_elected_sign():
    stream = trimmed()
    majority = ties.survey(stream)
    sign = torch.cat([ties.elect(stream.taus(n), majority).reshape(-1) for n in "Ab"])
    assert sign.tolist() == [1, -1, 1, 1, 1, 1, 1, -1, 1, 1]


@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        ("mean", [3, -1.5, 1, 0, 3, 2.75, 0.75, -4, 0, 0]),
        ("sum", [6, -3, 2, 0, 3, 5.5, 0.75, -4, 0, 0]),
        ("max", [4, -2, 1.5, 0, 3, 3, 0.75, -4, 0, 0]),
    ],
)
def test_ties(combine, expected):
    method = Method(partial(ties.merge, combine=combine), **TIES)
    assert delta(trimmed(), method).tolist() == expected


def doubles(name):
    """All tasks' float64 deltas of one tensor.

    In float64 .1 - .3 + .2 leaves a positive residue, and elects +.
    """
    if name == "b":
        return tensor([[0.1, -0.2], [-0.3, 0.4], [0.2, 0.1]], dtype=torch.float64)
    return torch.stack([taus[name] for taus in TAUS.values()]).double()


def test_emr_unified_vector_and_masks():
    parts = [emr.merge(doubles(name)) for name in "Ab"]
    unified = torch.cat([p.shared.reshape(-1) for p in parts])
    masks = torch.cat([p.masks.reshape(3, -1) for p in parts], dim=1)
    expected = [4, -2, 1.5, 0, -2, 3, 0.75, -4, 0.2, 0.4]
    torch.testing.assert_close(unified, tensor(expected, dtype=torch.float64))
    assert masks.int().tolist() == [
        [1, 1, 1, 0, 1, 1, 1, 0, 1, 0],
        [0, 1, 1, 0, 0, 0, 1, 1, 0, 1],
        [1, 0, 0, 0, 1, 1, 0, 0, 1, 1],
    ]


def test_emr_sign_of_an_exact_zero_is_negative():
    merged = emr.merge(tensor([[1.0, 2.0], [-1.0, -2.0]]))
    assert merged.shared.tolist() == [-1, -2]
    assert merged.masks.int().tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("paper", [0.895911, 1.554913, 0.994792]),
        ("code", [0.921708, 1.578680, 0.916667]),
        ("least_squares", [0.891360, 1.000000, 0.602055]),
    ],
)
def test_emr_rescaler(rule, expected):
    tallies = []
    for name in "Ab":
        taus = doubles(name)
        tallies.append(emr.tally(taus, emr.merge(taus)))
    factors = emr.rescale(torch.stack(tallies), tensor([8, 2]), rule)
    torch.testing.assert_close(factors, tensor(expected), atol=1e-6, rtol=0)


def test_emr_of_a_task_that_was_dropped_entirely_is_finite():
    zeros = {name: torch.zeros_like(tau) for name, tau in TAUS["t2"].items()}
    stream = stream_of({"t1": TAUS["t1"], "t2": zeros})
    merged = merge(stream, Method(rescale=emr.rescale, **EMR))
    assert merged.factors[1] == 1
    for name in "Ab":
        assert not merged.delta("t2", name).any()


@pytest.mark.parametrize("rule", ["paper", "code"])
def test_a_tensor_without_entries_does_not_touch_the_emr_rescaler(rule):
    method = Method(rescale=partial(emr.rescale, rule=rule), **EMR)
    wider = {task: {**taus, "none": torch.zeros(0, 4)} for task, taus in TAUS.items()}
    merged = merge(stream_of(wider), method)
    assert torch.equal(merged.factors, merge(golden(), method).factors)
    assert merged.delta("t1", "none").shape == (0, 4)


def test_individual_and_pretrained():
    individual = merge(golden(), Method(reference.individual))
    for task, taus in TAUS.items():
        for name, tau in taus.items():
            assert torch.equal(individual.delta(task, name), tau)
    assert delta(golden(), Method(reference.pretrained)).abs().sum() == 0


def test_emr_rows_have_the_rule_that_their_name_says():
    """Tensors of 8 and 2 entries, so that the three rules differ."""
    sums = tensor([[[8.0], [4.0], [6.0], [3.0]], [[1.0], [2.0], [1.0], [4.0]]])
    sizes = tensor([8, 2])
    by_hand = {"paper": 9 / 6, "code": 1.5 / 1.5, "least_squares": 7 / 7}
    for rule, expected in by_hand.items():
        assert float(emr.rescale(sums.double(), sizes, rule)) == pytest.approx(expected)
    sums[1, 0], sums[1, 2] = 3.0, 8.0
    by_hand = {"paper": 11 / 6, "code": 2.5 / 1.5, "least_squares": 14 / 7}
    for rule, expected in by_hand.items():
        assert float(emr.rescale(sums.double(), sizes, rule)) == pytest.approx(expected)
    for row, rule in (("emr", "paper"), ("emr_code", "code")):
        rescale = build.part(config(row).merge.method).rescale
        assert float(rescale(sums.double(), sizes)) == pytest.approx(by_hand[rule])


@pytest.mark.parametrize("rule", emr.RULES)
def test_an_emr_task_without_an_entry_that_agrees_has_the_factor_1(rule):
    """The second of two opposite tasks: nothing is divided by 0."""
    taus = tensor([[3.0, -4.0], [-1.0, 2.0]])
    merged = emr.merge(taus)
    assert merged.masks.tolist() == [[True, True], [False, False]]
    factors = emr.rescale(emr.tally(taus, merged)[None], tensor([2]), rule)
    assert factors.tolist() == [1.0, 1.0]
    stream = stream_of({"a": {"A": taus[0]}, "b": {"A": taus[1]}})
    by_rule = Method(rescale=partial(emr.rescale, rule=rule), **EMR)
    assert merge(stream, by_rule).delta("b", "A").tolist() == [0.0, 0.0]
