"""PCB and the order statistics of signed values: both paths, bit for bit."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines import metagpt, pcb, pcb_softmax
from tadrop.numerics.quantile import order_statistics
from tadrop.vectors import passes
from tests.golden import stream_of
from tests.numerics.test_row_twins import KINDS, both, check_same_bits, entries

INTER = ("normalised", "plain", "pairwise")


def stream(kind, tasks=3):
    """Tensors of odd sizes, one of them empty, whose magnitudes may be alike."""
    taus = {}
    for task in range(tasks):
        tensors = {}
        for name, shape in (("a", (37, 45)), ("b", (131,)), ("c", ()), ("d", (0, 3))):
            tensors[name] = entries(kind, shape, seed=task)
        taus[f"t{task}"] = tensors
    return stream_of(taus)


@pytest.mark.parametrize("inter", INTER)
@pytest.mark.parametrize("kind", [*KINDS, "alike"])
@pytest.mark.parametrize("tasks", [1, 2, 8])
def test_pcb_has_the_same_bits(kind, inter, tasks):
    if kind == "alike":
        signs = {"a": entries("normal", (40, 50)).sign()}
        vectors = stream_of({f"t{task}": signs for task in range(tasks)})
    else:
        vectors = stream(kind, tasks)
    survey = partial(pcb.survey, ratio=0.2, inter=inter)
    surveys = both(lambda: survey(vectors))
    for one, other in zip(*(found[:-1] for found in surveys), strict=True):
        check_same_bits([one, other])
    taus = vectors.taus("a")
    merged = both(lambda: pcb.fused(taus, surveys[0])[0])
    plain = both(lambda: pcb.merge(taus, surveys[0]))
    check_same_bits(merged)
    check_same_bits([merged[0], plain[1]])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.sampled_from([1, 2, 500, 3001]), st.integers(0, 9))
def test_signed_order_statistics_are_those_of_a_sorted_vector(kind, size, seed):
    values = entries(kind, (2, size), seed)
    ranks = sorted({0, size // 3, size - 1})
    expected = torch.from_numpy(np.sort(values.numpy() + 0.0, axis=1)[:, ranks])

    def pieces():
        return map(torch.Tensor.contiguous, values.split(700, dim=1))

    def found():
        return order_statistics(pieces, ranks)

    for result in both(found):
        assert torch.equal(result, expected)


@pytest.mark.parametrize(
    "survey", [pcb.survey, pcb_softmax.survey, lambda stream: [metagpt.survey(stream)]]
)
def test_threads_change_no_bit_of_a_survey(survey, monkeypatch):
    monkeypatch.setattr(passes, "PIECE", 1000)
    vectors = stream("bfloat16")
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append([x for x in survey(vectors) if isinstance(x, torch.Tensor)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert torch.equal(one, same)
