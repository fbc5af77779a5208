"""Formulas and random cuts: the compiled path and the plain one, bit for bit."""

import pytest
import torch

from baselines import ties
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.numerics import compiled
from tadrop.sparsify.cut_stream import Sparse
from tadrop.sparsify.dare import Dare
from tadrop.sparsify.random_cut import RandomCut
from tadrop.types import Vector
from tests.golden import stream_of
from tests.tiny import normal

SIZE = compiled.FROM + 1000


def both(monkeypatch, make):
    """What a function makes with the kernels, and without them."""
    results = []
    for least in (1, 1 << 60):
        monkeypatch.setattr(compiled, "FROM", least)
        results.append(make())
    return results


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.500001, 0.7, 0.95, 0.999])
def test_a_random_cut_keeps_its_rate_on_both_paths(keep, monkeypatch):
    """Draws have 32 bits without a sign: limits above 2**31 are limits too."""
    tau = normal(100_000, words="tau")
    cut = RandomCut(("dare", 0, "t", "n"), len(tau), keep, 1 / keep)
    assert (cut.limit > 2**31) == (keep > 0.5)
    fast, slow = both(monkeypatch, lambda: cut.apply(tau))
    assert torch.equal(fast.view(torch.int32), slow.view(torch.int32))
    deviation = (keep * (1 - keep) / len(tau)) ** 0.5
    for result in (fast, slow):
        share = float((result != 0).double().mean())
        assert abs(share - keep) < 5 * deviation


@pytest.mark.parametrize("keep", [0.3, 0.8])
def test_dare_divides_by_what_it_keeps_only_if_it_rescales(keep, monkeypatch):
    tau = normal(5000, words="tau")
    for rescale, factor in ((True, 1 / keep), (False, 1.0)):
        rule = Dare(keep, seed=0, rescale=rescale)
        for result in both(
            monkeypatch, lambda rule=rule: rule.plan(Vector.of(tau)).apply(tau)
        ):
            kept = result != 0
            torch.testing.assert_close(result[kept], tau[kept] * factor)
            assert 0 < int(kept.sum()) < len(tau)


def trimmed(count=3):
    """Task vectors with zeros, sums that cancel, and an even share of both signs."""
    taus = {}
    for number in range(count):
        values = normal(SIZE, words=number)
        taus[f"t{number}"] = {"a": torch.where(values.abs() > 0.7, values, 0)}
    taus["t1"]["a"][:100] = -taus["t0"]["a"][:100]
    taus["t2"]["a"][:100] = 0
    return taus


@pytest.mark.parametrize("fallback", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("combine", ["mean", "sum", "max"])
def test_large_tensors_are_combined_as_small_ones_are(combine, fallback):
    taus = torch.stack([tensors["a"] for tensors in trimmed().values()])
    fast, _ = ties.fused(taus, fallback, combine)
    plain = ties.merge(taus, fallback, combine)
    assert torch.equal(fast, plain)
    others = {"mean", "sum", "max"} - {combine}
    for other in others:
        assert not torch.equal(plain, ties.merge(taus, fallback, other))


def test_the_engine_hands_a_large_tensor_to_the_twin_of_the_row():
    words = {"combine": "sum"}

    def formula(taus, survey):
        raise AssertionError("the twin is there")

    def twin(taus, survey):
        return ties.fused(taus, survey, **words)

    stream = stream_of(trimmed())
    method = Method(formula, survey=ties.survey, compiled=twin)
    expected = ties.merge(stream.taus("a"), ties.survey(stream), **words)[0]
    assert torch.equal(merge(stream, method).delta("t0", "a"), expected)


@pytest.mark.parametrize("is_large", [False, True])
def test_a_balanced_model_takes_the_negative_entries_where_survivors_cancel(is_large):
    """By hand: the signs of the sums are +, - and 0, so that no majority elects one."""
    values = torch.tensor([[2.0, -3.0, 1.0], [1.0, 0.0, -1.0]])
    taus = {}
    for number, row in enumerate(values):
        repeated = row.repeat(SIZE // 3) if is_large else row
        taus[f"t{number}"] = {"a": repeated}
    stream = stream_of(taus)
    assert ties.survey(stream) == 0.0
    for combine, expected in (("mean", [1.5, -3, -1]), ("sum", [3, -3, -1])):

        def formula(taus, survey, combine=combine):
            return ties.merge(taus, survey, combine)

        def twin(taus, survey, combine=combine):
            return ties.fused(taus, survey, combine)

        method = Method(formula, survey=ties.survey, compiled=twin)
        delta = merge(stream, method).delta("t0", "a")
        assert delta[:3].tolist() == expected
        assert delta[-3:].tolist() == expected


@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_cut_of_a_cut_stream_begins_where_its_tensor_does(is_compiled, monkeypatch):
    """A stream made of another one cuts by the place in the layer, not in the tensor."""
    from tadrop.sparsify.magnitude import Magnitude

    monkeypatch.setattr(compiled, "FROM", 1 if is_compiled else 1 << 60)
    taus = {"t": {"b.0.x": torch.ones(500), "b.0.y": torch.ones(700)}}
    first = Sparse(stream_of(taus), Dare(0.9, seed=0, rescale=False))
    for scope in ("layer", "model"):
        second = Sparse(first, Magnitude(0.4, scope=scope))
        for name in second.names:
            cut, start = second.cut(0, name)
            tau = first.taus(name)[0]
            expected = torch.where(cut.keeps(tau, start), tau, 0)
            assert torch.equal(second.taus(name)[0], expected)
            assert torch.equal(second.taus(name, 64, 300)[0], expected[64:300])
        total = sum(int((second.taus(n)[0] != 0).sum()) for n in second.names)
        assert total == 480
