"""The list of what happens before the merge: its order, the empty list, and controls in it."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from tadrop.sparsify.chain import chain, sparsified
from tadrop.sparsify.cut_stream import Sparse
from tadrop.sparsify.dare import Dare
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.tadrop import TADrop
from tests.golden import ROOT, golden
from tests.sparsify.test_controls import control, planned, stream

# Entries that the controls kept of each tensor, tasks side by side, as the first version of this
# suite had it (q_lo 0.5, q_hi 0.95, seed 3).
KEPT = {
    "uniform/tensor": [460, 460, 23, 23, 460, 460, 23, 23, 8, 8, 1, 1, 4, 4, 27, 27],
    "uniform/layer": [484, 484, 484, 484, 8, 8, 1, 1, 31, 31],
    "inverted/tensor": [463, 445, 27, 26, 472, 467, 14, 23, 11, 8, 1, 1, 5, 4, 22, 23],
    "inverted/layer": [461, 453, 516, 517, 10, 8, 1, 1, 23, 26],
    "shuffled/tensor": [504, 444, 28, 21, 409, 466, 30, 26, 11, 8, 1, 1, 3, 4, 29, 27],
    "shuffled/layer": [560, 473, 406, 493, 11, 10, 1, 1, 33, 28],
}  # fmt: skip


def same(one, other):
    return all(torch.equal(one.taus(name), other.taus(name)) for name in other.names)


def test_nothing_happens_in_an_empty_chain():
    source = golden()
    assert chain([])(source) is source


def test_steps_are_applied_in_the_order_written():
    first, second = Magnitude(0.5, norm="l1"), Magnitude(0.3, scope="model")
    applied = chain([sparsified(first), sparsified(second)])(golden())
    assert same(applied, Sparse(Sparse(golden(), first), second))
    assert not same(applied, chain([sparsified(second), sparsified(first)])(golden()))


def test_a_chain_may_be_used_again():
    steps = chain(iter([sparsified(Magnitude(0.5))]))
    assert same(steps(golden()), steps(golden()))
    assert same(steps(golden()), Sparse(golden(), Magnitude(0.5)))


def test_every_cut_is_planned_and_told():
    told = []
    stream = sparsified(TADrop(0.5, 0.9), lambda: told.append(1))(golden())
    assert list(stream.cuts()) == [(t, n) for n in "Ab" for t in ("t1", "t2", "t3")]
    assert len(told) == 6


def test_only_the_last_sparsifier_is_undone():
    trimmed = sparsified(Magnitude(0.5))(golden())
    stream = sparsified(Dare(0.5, seed=0))(trimmed)
    assert stream.uncut() is trimmed
    assert same(stream.uncut().uncut(), golden())


@pytest.mark.parametrize("name", KEPT)
def test_a_control_deals_as_many_entries_out_as_ever(name):
    assign, scope = name.split("/")
    rule = control_rule(assign, scope)
    source, told = stream(), []
    dealt = sparsified(rule, lambda: told.append(1))(source)
    assert [cut.facts().kept for cut in dealt.cuts().values()] == KEPT[name]
    assert dealt.uncut() is source
    assert len(told) == len(dealt.cuts())


def control_rule(assign, scope):
    """The rule as conf/tadrop has it, with the quantiles and the seed that KEPT is for."""
    words = [f"tadrop={assign}", f"tadrop.scope={scope}", "seed=3"]
    words += ["tadrop.q_lo=0.5", "tadrop.q_hi=0.95"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return instantiate(compose("config", words).tadrop)


def test_a_control_cuts_as_its_rule_does():
    adaptive = planned(stream(), TADrop(0.5, 0.95, seed=3))
    rule = control("shuffled", adaptive, seed=3)
    assert same(
        sparsified(control_rule("shuffled", "tensor"))(stream()), Sparse(stream(), rule)
    )
