"""Controls keep as many entries as the adaptive rule; layers are cut as one."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from tadrop.sparsify.controls import inverted, pooled, shuffled, uniform
from tadrop.sparsify.cut_stream import Sparse, all_cuts
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.tadrop import TADrop
from tadrop.vectors.names import cut_name, layer_of
from tests.golden import stream_of

SHAPES = {
    "stem.weight": (7, 5), "stem.bias": (5,), "scale": (1,),
    "blocks.0.fc.weight": (20, 30), "blocks.0.norm.weight": (30,),
    "blocks.1.fc.weight": (20, 30), "blocks.1.norm.weight": (30,),
    "head.norm.bias": (11,),
}  # fmt: skip


def stream(frozen=()):
    """Two tasks whose tensors have tails of different weight.

    frozen: shapes of further tensors, which fine-tuning has not changed
    """
    rng = np.random.default_rng(0)
    degrees = dict(zip(SHAPES, (1, 3, 9, 2, 30, 5, 1.5, 8), strict=True))
    taus = {"a": {}, "b": {}}
    for tensors in taus.values():
        for name, degree in degrees.items():
            draw = rng.standard_t(degree, SHAPES[name])
            tensors[name] = torch.from_numpy(draw).float()
        for at, shape in enumerate(frozen):
            tensors[f"frozen.{at}.weight"] = torch.zeros(shape)
    return stream_of(taus)


def planned(source, rule):
    return all_cuts(Sparse(source, rule))


def kept(cuts, task):
    return {name: cut.facts().kept for (t, name), cut in cuts.items() if t == task}


RULE = TADrop(0.5, 0.95)
CONTROLS = {
    "uniform": uniform,
    "inverted": inverted,
    "shuffled": shuffled,
    "pooled": pooled,
}


def control(assign, cuts, **settings):
    """The rule that stands in for the adaptive one whose cuts are given."""
    deal = CONTROLS[assign].deal
    return TADrop(0.5, 0.95, assign=assign, deal=deal, **settings).stand_in(cuts)


@pytest.mark.parametrize("assign", ["inverted", "shuffled"])
def test_a_redealt_task_keeps_exactly_as_many_entries(assign):
    adaptive = planned(stream(), RULE)
    dealt = planned(stream(), control(assign, adaptive))
    for task in ("a", "b"):
        assert sum(kept(dealt, task).values()) == sum(kept(adaptive, task).values())
        assert kept(dealt, task) != kept(adaptive, task)
        assert kept(dealt, task)["scale"] == 1
        assert all(count >= 1 for count in kept(dealt, task).values())


def test_inverted_takes_most_where_the_adaptive_rule_takes_least():
    adaptive = planned(stream(), RULE)
    dealt = planned(stream(), control("inverted", adaptive))
    large = ("blocks.0.fc.weight", "blocks.1.fc.weight", "stem.weight")

    def order(cuts):
        counts = kept(cuts, "a")
        return np.argsort([counts[name] / np.prod(SHAPES[name]) for name in large])

    assert order(adaptive).tolist() == order(dealt)[::-1].tolist()


def test_shuffled_follows_its_seed_and_the_task():
    adaptive = planned(stream(), RULE)

    def dealt(seed):
        return planned(stream(), control("shuffled", adaptive, seed=seed))

    assert kept(dealt(0), "a") == kept(dealt(0), "a")
    assert kept(dealt(0), "a") != kept(dealt(1), "a")


def test_uniform_keeps_one_fraction_at_the_same_density():
    adaptive = planned(stream(), RULE)
    rule = control("uniform", adaptive, norm="l1")
    total = sum(np.prod(shape) for shape in SHAPES.values()) * 2
    assert isinstance(rule, Magnitude)
    assert rule.norm == "l1"
    assert rule.keep == pytest.approx(
        sum(sum(kept(adaptive, t).values()) for t in "ab") / total
    )


def left(source, rule):
    """How many entries of each task are not zero once the rule has cut it."""
    sparse = Sparse(source, rule)
    counts = Counter()
    for name in source.names:
        for task, tau in zip(source.tasks, sparse.taus(name), strict=True):
            counts[task] += int(torch.count_nonzero(tau))
    return counts


@pytest.mark.parametrize("density", [None, 0.3])
@pytest.mark.parametrize("assign", ["uniform", "inverted", "shuffled", "pooled"])
def test_what_was_never_changed_is_no_part_of_a_density(assign, density):
    rule = replace(RULE, density=density)
    alone, beside = stream(), stream(frozen=[(40, 50), (300,)])
    ours = planned(beside, rule)
    adaptive = left(beside, rule.stand_in(ours) or rule)
    assert adaptive == left(alone, rule.stand_in(planned(alone, rule)) or rule)
    deal = CONTROLS[assign].deal
    controlling = replace(rule, assign=assign, deal=deal)
    found = left(beside, controlling.stand_in(ours))
    if assign == "uniform" and density is None:  # one keep for both tasks together
        total = sum(adaptive.values())
        assert sum(found.values()) == pytest.approx(total, abs=2 * len(SHAPES))
    else:
        assert found == adaptive


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("blocks.3.fc1.weight", "blocks.3"),
        (
            "visual.transformer.resblocks.11.attn.out_proj.bias",
            "visual.transformer.resblocks.11",
        ),
        ("stem.0.weight", "stem.0"),
        ("norm.bias", "norm"),
        ("visual.conv1.weight", "visual.conv1"),
        ("position", "position"),
    ],
)
def test_what_a_layer_is(name, layer):
    assert layer_of(name) == layer
    assert cut_name("layer", name) == layer
    assert cut_name("tensor", name) == name
    assert cut_name("model", name) == "model"


@pytest.mark.parametrize("scope", ["layer", "model"])
def test_a_joint_cut_keeps_the_largest_of_all_that_it_covers(scope):
    source = stream()
    sparse = Sparse(source, Magnitude(0.3, scope=scope))
    for task in range(2):
        for covered in {cut_name(scope, name) for name in source.names}:
            names = [name for name in source.names if cut_name(scope, name) == covered]
            before = torch.cat([source.taus(name)[task].reshape(-1) for name in names])
            after = torch.cat([sparse.taus(name)[task].reshape(-1) for name in names])
            wanted = max(round(0.3 * len(before)), 1)
            assert int(torch.count_nonzero(after)) == wanted
            assert set(after[after != 0].tolist()) == set(
                before[before.abs().argsort()[-wanted:]].tolist()
            )


def test_pieces_of_a_jointly_cut_stream_are_its_tensors():
    sparse = Sparse(stream(), Magnitude(0.3, scope="layer"))
    name = "blocks.1.norm.weight"
    whole = sparse.taus(name)
    assert torch.equal(
        torch.cat([sparse.taus(name, 0, 13), sparse.taus(name, 13, 30)], 1), whole
    )
    assert torch.equal(torch.cat(list(sparse.vector(1, name).pieces())), whole[1])
