"""A density that is set: what the solver deals out, by hand and by its properties, and
the rules, controls and rows that take it.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tadrop.app.runs import build
from tadrop.app.schema.composing import composed
from tadrop.results import identity
from tadrop.sparsify.chain import sparsified
from tadrop.sparsify.controls import inverted, pooled, shuffled, uniform
from tadrop.sparsify.dare import Dare
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.shares.density import allotted
from tadrop.sparsify.tadrop import TADrop
from tadrop.types import TadropError
from tests.baselines.test_contract import ROWS
from tests.golden import stream_of
from tests.sparsify.test_controls import kept, planned, stream

CONTROLS = {
    "uniform": uniform,
    "inverted": inverted,
    "shuffled": shuffled,
    "pooled": pooled,
}
# weights, sizes, density, entries kept; c is the one number that is solved for.
BY_HAND = {
    "in proportion, c = 1/2": ([0.8, 0.4], [10, 10], 0.3, [4, 2]),
    "one is whole, c = 20/9": ([0.9, 0.1], [10, 90], 0.3, [10, 20]),
    "all equal": ([0.3, 0.3, 0.3], [10, 20, 40], 0.5, [5, 10, 20]),
    "all equal, one too many": ([0.5, 0.5], [10, 10], 0.25, [3, 2]),
    "the heavier one first": ([0.4, 0.5], [5, 4], 1 / 3, [1, 2]),
    "nothing by its ratio": ([0.0, 0.5], [10, 10], 0.5, [1, 9]),
    "nothing by its ratio, served last": ([0.0, 0.5], [10, 10], 0.75, [5, 10]),
    "nothing by any ratio": ([0.0, 0.0], [10, 20], 0.5, [5, 10]),
    "fewer than one each": ([0.8, 0.4], [10, 10], 0.01, [1, 1]),
    "everything": ([0.0, 1.0], [10, 10], 1.0, [10, 10]),
    "no tensor to cut": ([], [], 0.5, []),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_what_is_kept_by_hand(case):
    weights, sizes, density, counts = BY_HAND[case]
    found = allotted(np.array(weights), np.array(sizes, dtype=int), density)
    assert found.tolist() == counts


VECTORS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(2, 10_000)), min_size=1, max_size=12
)
SHARES = st.floats(1e-3, 1)


@settings(max_examples=200, deadline=None)
@given(VECTORS, SHARES, SHARES)
def test_any_density_is_kept_in_order_and_nested(vectors, one, other):
    weights, sizes = map(np.array, zip(*vectors, strict=True))
    low, high = sorted((one, other))
    fewer, more = (allotted(weights, sizes, density) for density in (low, high))
    for counts, density in ((fewer, low), (more, high)):
        wanted = max(round(density * int(sizes.sum())), len(sizes))
        assert counts.sum() == wanted
        assert (counts >= 1).all()
        assert (counts <= sizes).all()
        order = np.argsort(-weights, kind="stable")
        shares = (counts / sizes)[order]
        floors = ((counts - 1) / sizes)[order]
        for place in range(1, len(shares)):
            assert floors[place] <= shares[:place].min() + 1e-6
    assert (fewer <= more).all()


def tensor(*values):
    return torch.tensor([*values], dtype=torch.float32)


def small():
    """A task whose tensors have the ratios 1/5, 3/5 and 0 at q_lo 0.5 and q_hi 1."""
    tensors = {
        "heavy": tensor(*[1.0] * 9, 5.0),
        "even": tensor(*[-3.0] * 9, 5.0),
        "one": tensor(7.0),
        "zero": torch.zeros(10),
    }
    return stream_of({"a": tensors})


def test_the_kept_entries_of_tiny_tensors_by_hand():
    # Past c = 3/4 both reach their next entry, 7 and 4: the heavier first makes 10 of 20.
    # The tensor of one entry and that of zeros are apart.
    dealt = sparsified(TADrop(0.5, 1.0, density=0.5))(small())
    assert kept(dealt.cuts(), "a") == {"even": 3, "heavy": 7, "one": 1, "zero": 10}
    ratios = {name: cut.facts().ratio for (_, name), cut in dealt.cuts().items()}
    assert ratios == pytest.approx({"even": 0.6, "heavy": 0.2, "one": 0, "zero": 0})
    heavy = dealt.taus("heavy")[0]
    assert sorted(heavy.tolist())[:3] == [0] * 3
    assert heavy.sum() == pytest.approx(14)  # the l1 norm is that of the whole tensor


def share(cuts, task):
    """Entries kept, and entries, of the tensors of a task that may be cut."""
    facts = [cut.facts() for (one, _), cut in cuts.items() if one == task]
    facts = [fact for fact in facts if fact.size > 1]
    return sum(fact.kept for fact in facts), sum(fact.size for fact in facts)


@pytest.mark.parametrize("scope", ["tensor", "layer", "model"])
@pytest.mark.parametrize("density", [0.02, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("assign", ["adaptive", *CONTROLS])
def test_every_task_keeps_the_density_whatever_deals_it_out(assign, density, scope):
    deal = CONTROLS[assign].deal if assign in CONTROLS else None
    rule = TADrop(0.5, 0.95, assign=assign, deal=deal, scope=scope, density=density)
    cuts = sparsified(rule)(stream()).cuts()
    for task in ("a", "b"):
        count, size = share(cuts, task)
        adaptive = sparsified(TADrop(0.5, 0.95, scope=scope, density=density))(stream())
        assert sum(kept(cuts, task).values()) == sum(
            kept(adaptive.cuts(), task).values()
        )
        if assign != "pooled":
            assert abs(count - density * size) <= max(0.5, len(cuts) / 2)


def test_the_density_that_the_ratios_give_changes_nothing():
    free = planned(stream(), TADrop(0.5, 0.95))
    for task in ("a", "b"):
        count, size = share(free, task)
        dealt = sparsified(TADrop(0.5, 0.95, density=count / size))(stream())
        for key, cut in dealt.cuts().items():
            if key[0] == task:
                assert cut == free[key]


def test_uniform_keeps_one_share_and_inverted_turns_the_order():
    def shares(assign):
        deal = CONTROLS[assign].deal
        rule = TADrop(0.5, 0.95, assign=assign, deal=deal, density=0.3)
        cuts = sparsified(rule)(stream()).cuts()
        return {name: cut.facts() for (task, name), cut in cuts.items() if task == "a"}

    for fact in shares("uniform").values():
        assert fact.size == 1 or abs(fact.kept - 0.3 * fact.size) <= 1
    large = ("blocks.0.fc.weight", "blocks.1.fc.weight")
    adaptive = kept(sparsified(TADrop(0.5, 0.95, density=0.3))(stream()).cuts(), "a")
    turned = shares("inverted")
    ahead = np.argsort([adaptive[name] for name in large])
    assert ahead.tolist() == np.argsort([-turned[name].kept for name in large]).tolist()


def test_one_threshold_keeps_the_largest_of_the_whole_model():
    rule = TADrop(
        0.5, 0.95, norm="none", assign="pooled", deal=pooled.deal, density=0.2
    )
    dealt, source = sparsified(rule)(stream()), stream()
    for task in range(2):
        before = torch.cat([source.taus(name)[task].flatten() for name in source.names])
        after = torch.cat([dealt.taus(name)[task].flatten() for name in source.names])
        count = int(torch.count_nonzero(after))
        assert count == round(0.2 * (len(before) - 1)) + 1
        largest = before.abs().sort(descending=True).values[:count]
        assert after[after != 0].abs().sort(descending=True).values.equal(largest)


def test_pieces_are_the_tensors_and_smaller_densities_lie_in_larger_ones():
    few, many = (sparsified(TADrop(0.5, 0.95, density=d))(stream()) for d in (0.1, 0.4))
    for name in few.names:
        whole = few.taus(name)
        size = whole[0].numel()
        cut = [few.taus(name, at, min(at + 7, size)) for at in range(0, size, 7)]
        assert torch.cat(cut, 1).equal(whole.flatten(1))
        assert torch.cat(list(few.vector(1, name).pieces())).equal(whole[1].flatten())
        assert ((whole == 0) | (many.taus(name) != 0)).all()


@pytest.mark.parametrize("density", [0.0, -0.1, 1.1, 2.0])
def test_a_density_that_is_no_share_is_refused(density):
    with pytest.raises(TadropError, match=rf"density is {density}; .* \(0, 1\]"):
        TADrop(0.5, 0.95, density=density)


# --- the density of a row's own rule


def native(row, *words):
    return build.tadrop(composed([f"merge={row}", "tadrop.density=native", *words]))


NATIVE = {
    "adamerging_plus": 0.2,
    "adamerging_task_plus": 0.2,
    "breadcrumbs": 0.156,
    "breadcrumbs_tensor": 0.156,
    "compress_dare": 0.1,
    "compress_nps": 0.1,
    "compress_top": 0.1,
    "consensus_ties": 0.2,
    "dare": 0.1,
    "dare_ties": 0.1,
    "nps": 0.1,
    "nps_disjoint": 0.1,
    "tall_mask_ties": 0.2,
    "ties": 0.2,
    "ties_max": 0.2,
    "ties_sum": 0.2,
    "ties_tensor": 0.2,
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_s_own_density_is_taken_or_refused_by_name(row):
    if row in NATIVE:
        assert native(row).own.density == pytest.approx(NATIVE[row])
        return
    with pytest.raises(TadropError, match=rf"density=native: .*row {row}\b") as info:
        native(row)
    assert "\n" not in str(info.value)


def test_native_is_the_same_number_where_the_rule_keeps_the_largest():
    own = TADrop(0.5, 0.95, density="native", own=Magnitude(0.2, scope="model"))
    said = TADrop(0.5, 0.95, density=0.2)
    assert sparsified(own)(stream()).cuts() == sparsified(said)(stream()).cuts()


def test_native_is_as_many_entries_where_a_part_of_the_model_never_changed():
    """A trim of the whole model counts tensors of zeros; pooled, it is the trim itself."""
    generator = torch.Generator().manual_seed(5)
    taus = {"zero": torch.zeros(400)}
    for name, scale in (("narrow", 0.1), ("wide", 1.0)):
        taus[name] = scale * torch.randn(300, generator=generator)
    own = Magnitude(0.2, scope="model")
    words = {"density": "native", "norm": "none", "own": own}
    adaptive = sparsified(TADrop(0.5, 0.95, **words))(stream_of({"a": taus}))
    deal = TADrop(0.5, 0.95, assign="pooled", deal=pooled.deal, **words)
    one_threshold = sparsified(deal)(stream_of({"a": taus}))
    trimmed = sparsified(own)(stream_of({"a": taus}))
    count = 0
    for name in taus:
        count += int(adaptive.taus(name).count_nonzero())
        assert torch.equal(one_threshold.taus(name), trimmed.taus(name)), name
    assert count == 200


def test_dare_draws_at_the_share_of_each_tensor_and_divides_by_it():
    own = Dare(0.1, seed=3, trim=Magnitude(0.9))
    dealt = sparsified(TADrop(0.5, 0.95, density="native", own=own))(stream())
    shares = sparsified(TADrop(0.5, 0.95, density=0.1))(stream()).cuts()
    random = dealt.uncut()  # the rule that follows DARE cuts last
    assert dealt.sparsifier == Magnitude(0.9)
    for key, cut in random.cuts().items():
        facts = shares[key].facts()
        assert cut.keep == facts.kept / facts.size
        assert cut.factor == 1 / cut.keep
        assert cut.words == ("dare", 3, *key)
    assert len({cut.keep for cut in random.cuts().values()}) > 4


def test_the_row_s_own_settings_name_a_run_that_takes_its_density():
    def settings(*words):
        return identity.settings(build.resolved(composed(["merge=dare", *words])))

    took = settings("tadrop.density=native", "sparsify.keep=0.2")
    assert took["sparsify"]["keep"] == 0.2
    assert took["before"] == ["tadrop"]
    assert took["seed"] == 0
    assert settings("tadrop.density=0.2")["sparsify"] is None


# --- without a density


KEYS = {  # as they were before there was a density
    ("merge=emr",): "af0240743fe3831f",
    ("merge=ties", "tadrop=uniform"): "1382c0bfc7374733",
    ("merge=dare", "tadrop=shuffled"): "030feb107eccc3c2",
}


@pytest.mark.parametrize("words", KEYS)
def test_records_keep_their_names(words):
    assert identity.key(build.resolved(composed(words))) == KEYS[words]


@pytest.mark.parametrize("assign", ["on", "uniform", "inverted", "shuffled"])
def test_a_density_that_is_not_set_is_no_part_of_a_record(assign):
    config = build.resolved(composed(["merge=ties", f"tadrop={assign}"]))
    assert config["tadrop"]["density"] is None
    settings = identity.settings(config)
    assert "density" not in settings["tadrop"]
    del config["tadrop"]["density"]
    assert identity.settings(config) == settings
