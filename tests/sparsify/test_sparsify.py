"""Every sparsifier: exact counts, ties, norms, quantiles against numpy, replay in pieces."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tadrop.numerics.quantile import spectrum
from tadrop.numerics.seeds import key
from tadrop.sparsify.dare import Dare
from tadrop.sparsify.draws import ranks
from tadrop.sparsify.magnitude import Magnitude
from tadrop.sparsify.magprune import MagPrune
from tadrop.sparsify.random_cut import RandomCut
from tadrop.sparsify.row_magnitude import RowMagnitude
from tadrop.sparsify.tadrop import TADrop
from tadrop.types import ALL as EVERY
from tadrop.types import TadropError, Vector

ALL = [
    Magnitude(0.3),
    Magnitude(0.3, norm="l1"),
    Dare(0.4, seed=3),
    TADrop(0.5, 0.95, norm="l1"),
    TADrop(0.8, 0.95, norm="l2"),
    TADrop(0.3, 0.9, norm="none", map="power", gamma=2.0),
    TADrop(0.3, 0.9, norm="l2", map="affine", slope=0.5, offset=0.3, s_max=0.6),
]


def sparse(rule, tau):
    return rule.plan(Vector.of(tau)).apply(tau)


def normal(*shape, seed=0):
    return torch.from_numpy(
        np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    )


def in_pieces(tau, size):
    """The same vector, handed out in pieces of `size` entries."""
    return Vector(
        "task",
        "tensor",
        tuple(tau.shape),
        tau.numel(),
        lambda: iter(tau.reshape(-1).split(size)),
    )


# --- order statistics

VECTORS = {
    "normal": normal(2_001),
    "ties": torch.tensor(
        np.random.default_rng(1).integers(-3, 4, 999), dtype=torch.float32
    ),
    "zeros": torch.zeros(50),
    "mostly_zero": torch.cat([torch.zeros(90), normal(10)]),
    "constant": torch.full((33,), -2.5),
    "tiny": torch.tensor([1e-45, -1e-40, 1e-38, 0.0, -0.0]),
    "wide": torch.tensor([1e-30, 3e38, -1e20, 1.0, 1 + 2**-23]),
    "one": torch.tensor([-7.0]),
}


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_order_statistics_equal_sorting(name, piece):
    tau = VECTORS[name]
    piece = max(piece, len(tau) // 5)
    ordered = np.sort(np.abs(tau.numpy()))
    ranks = sorted({*range(0, len(tau), max(len(tau) // 15, 1)), len(tau) - 1})
    found = spectrum(in_pieces(tau, piece)).order_statistics(ranks)
    assert np.array_equal(
        np.array([f.value for f in found], dtype=np.float32), ordered[ranks]
    )
    for f in found:
        assert (f.below, f.equal) == (
            int((ordered < f.value).sum()),
            int((ordered == f.value).sum()),
        )


@pytest.mark.parametrize("name", VECTORS)
def test_quantiles_equal_numpy_in_float64(name):
    fractions = [0.01, 0.25, 0.5, 0.8, 0.95, 0.999, 1.0]
    expected = np.quantile(np.abs(VECTORS[name].double().numpy()), fractions)
    np.testing.assert_allclose(
        spectrum(Vector.of(VECTORS[name])).quantiles(fractions),
        expected,
        rtol=1e-12,
        atol=0,
    )


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40),
    st.floats(0, 1),
)
def test_any_quantile_of_any_vector(values, fraction):
    tau = torch.tensor(values, dtype=torch.float32)
    expected = np.quantile(np.abs(tau.double().numpy()), fraction)
    assert spectrum(Vector.of(tau)).quantiles([fraction])[0] == pytest.approx(
        expected, rel=1e-9, abs=1e-30
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nonfinite_entries_are_named(bad):
    vector = Vector.of(
        torch.tensor([1.0, bad, bad]), task="dtd", name="blocks.0.weight"
    )
    with pytest.raises(TadropError, match=r"'dtd'.*'blocks\.0\.weight'.*2 entries"):
        spectrum(vector)


# --- reference values of the quantile ratio, from two million draws of each distribution
# (independently computed)

RATIOS = [
    (0.50, 0.95, 0.344, 0.527, 0.231),
    (0.75, 0.95, 0.586, 0.789, 0.463),
    (0.80, 0.95, 0.653, 0.842, 0.538),
    (0.90, 0.99, 0.638, 0.909, 0.501),
]


@pytest.mark.parametrize(("q_lo", "q_hi", "half_normal", "uniform", "laplace"), RATIOS)
def test_ratio_of_known_distributions(q_lo, q_hi, half_normal, uniform, laplace):
    rng = np.random.default_rng(0)
    draws = (
        rng.standard_normal(200_000),
        rng.uniform(-1, 1, 200_000),
        rng.laplace(size=200_000),
    )
    for values, expected in zip(draws, (half_normal, uniform, laplace), strict=True):
        tau = torch.from_numpy(values.astype(np.float32))
        assert TADrop(q_lo, q_hi).plan(Vector.of(tau)).ratio == pytest.approx(
            expected, abs=0.01
        )


@pytest.mark.parametrize(
    ("keep", "l1", "l2"),
    [(0.6, 1.147, 1.018), (0.4, 1.425, 1.071), (0.2, 2.273, 1.240)],
)
def test_rescale_of_a_normal_vector(keep, l1, l2):
    vector = Vector.of(normal(200_000))
    assert Magnitude(keep, norm="l1").plan(vector).factor == pytest.approx(l1, abs=0.01)
    assert Magnitude(keep, norm="l2").plan(vector).factor == pytest.approx(l2, abs=0.01)


# --- TADrop's definition


def slow_tadrop(tau, q_lo, q_hi, p):
    """The definition, sorted out in the open: quantile ratio, k largest with ties by their words,
    norm restored.
    """
    v = np.abs(tau.double().numpy().ravel())
    high = np.quantile(v, q_hi)
    ratio = np.quantile(v, q_lo) / high if high else 0.0
    k = max(v.size - int(np.floor(ratio * v.size)), 1)
    words = ranks(key("equals", "task", "tensor"), torch.arange(v.size)).numpy()
    kept = np.zeros(v.size, bool)
    kept[np.lexsort((words, -v))[:k]] = True
    out = np.where(kept, tau.double().numpy().ravel(), 0)
    after = np.linalg.norm(out, p)
    return (out * (np.linalg.norm(v, p) / after if after else 1)).reshape(tau.shape), k


@pytest.mark.parametrize(
    "tau", [*VECTORS.values(), normal(8, 3, 5), normal()], ids=[*VECTORS, "3-d", "0-d"]
)
@pytest.mark.parametrize(("norm", "p"), [("l1", 1), ("l2", 2)])
def test_tadrop_equals_the_definition(tau, norm, p):
    if tau.abs().max() > 1e30 and norm == "l2":
        tau = tau / 1e20
    expected, kept = slow_tadrop(tau, 0.5, 0.9, p)
    cut = TADrop(0.5, 0.9, norm=norm).plan(Vector.of(tau))
    assert cut.kept == kept
    np.testing.assert_allclose(cut.apply(tau).numpy(), expected, rtol=2e-6, atol=1e-44)


def test_an_exact_count_is_kept_among_equals():
    tau = torch.tensor([1.0, -2, 2, 1, -1, 2, 1])
    four = sparse(Magnitude(4 / 7), tau)
    assert [four[index] for index in (1, 2, 5)] == [-2, 2, 2]
    assert int((four != 0).sum()) == 4
    assert int((sparse(Magnitude(5 / 7), tau) != 0).sum()) == 5
    assert torch.equal(sparse(Magnitude(4 / 7, equals="all"), tau), tau)


def test_constant_magnitudes_keep_one_entry():
    kept = sparse(TADrop(0.5, 0.9, norm="l1"), torch.tensor([1.0, -1, 1, -1]))
    assert sorted(kept.abs().tolist()) == [0, 0, 0, 4]


COARSE = [Magnitude(0.3), TADrop(0.8, 0.9), Magnitude(0.25, count="ties")]


@pytest.mark.parametrize("rule", COARSE, ids=str)
def test_equals_are_kept_without_a_bias_for_position(rule):
    """Of 16-bit checkpoints the first half kept .84 and the last quarter .75."""
    generator = torch.Generator().manual_seed(0)
    base = 0.02 * torch.randn(64_000, generator=generator)
    tuned = base + 1e-4 * torch.randn(64_000, generator=generator)
    tau = tuned.bfloat16().float() - base.bfloat16().float()
    cut = rule.plan(Vector.of(tau))
    kept = cut.keeps(tau)
    assert int(kept.sum()) == cut.kept
    assert cut.limit < EVERY
    quarters = kept.double().view(4, -1).mean(1)
    deviation = 0.5 / 16_000**0.5
    assert (quarters - quarters.mean()).abs().max() < 4 * deviation


def test_equals_are_drawn_by_task_and_tensor_and_by_no_seed():
    tau = torch.ones(1000)
    masks = set()
    for task in "ab":
        for name in "xy":
            vector = Vector.of(tau, task, name)
            kept = Magnitude(0.5).plan(vector).keeps(tau)
            other = TADrop(0.3, 0.9, map="affine", slope=0.0, offset=0.5, seed=7)
            assert torch.equal(kept, other.plan(vector).keeps(tau))
            masks.add(tuple(kept.tolist()))
    assert len(masks) == 4


def test_a_mostly_zero_tensor_loses_nothing():
    tau = VECTORS["mostly_zero"]
    assert torch.equal(sparse(TADrop(0.5, 0.95), tau), tau)


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.5, 0.9, 1.0])
def test_the_authors_trim_keeps_what_is_as_large_as_the_kth_value(keep):
    """ties-merging: c = the k-th smallest magnitude, k = n - int(n * keep); entries from c on are
    kept.
    """
    tau = torch.randint(
        -9, 10, (1001,), generator=torch.Generator().manual_seed(0)
    ).float()
    k = 1001 - int(1001 * keep)
    kept = tau.abs() >= (tau.abs().sort().values[k - 1] if k else 0)
    cut = Magnitude(keep, count="kth").plan(Vector.of(tau))
    assert torch.equal(cut.apply(tau), torch.where(kept, tau, 0))
    assert cut.kept == kept.sum() > int(1001 * keep) + 1 or keep == 1
    assert int((sparse(Magnitude(keep, count="ties"), tau + 0.5) != 0).sum()) == min(
        int(1001 * keep) + 1, 1001
    )


@pytest.mark.parametrize("rule", [TADrop(0.5, 0.9), Magnitude(0.5)])
def test_single_entries_and_scalars_are_unchanged(rule):
    for tau in (torch.tensor([3.0]), torch.tensor(-0.5)):
        assert torch.equal(sparse(rule, tau), tau)


def test_small_q_lo_drops_nothing():
    tau = torch.cat([torch.zeros(1), normal(500)])
    assert torch.equal(sparse(TADrop(1e-9, 1.0, norm="none"), tau), tau)


@pytest.mark.parametrize(
    ("s", "kept"), [("identity", None), ("power", None), ("affine", 40)]
)
def test_maps(s, kept):
    options = {"power": {"gamma": 3.0}, "affine": {"slope": 0.0, "offset": 0.6}}.get(
        s, {}
    )
    rule = TADrop(0.5, 0.95, map=s, **options)
    cut = rule.plan(Vector.of(normal(100)))
    expected = {"identity": cut.ratio, "power": cut.ratio**3, "affine": 0.6}[s]
    assert rule.sparsity(cut.ratio) == expected
    assert cut.kept == (kept or 100 - int(expected * 100))


# --- properties of every sparsifier


@pytest.mark.parametrize("rule", ALL, ids=str)
def test_pieces_give_the_bits_of_the_whole(rule):
    tau = torch.cat([normal(1000), VECTORS["ties"]])
    whole = sparse(rule, tau)
    for size in (101, 640):
        cut, at, parts = rule.plan(in_pieces(tau, size)), 0, []
        for piece in tau.split(size):
            parts.append(cut.apply(piece, at))
            at += len(piece)
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-6, atol=0)
        assert torch.equal(torch.cat(parts) != 0, whole != 0)


@pytest.mark.parametrize("rule", ALL, ids=str)
def test_signs_survive_and_input_is_untouched(rule):
    tau = normal(40, 25)
    before = tau.clone()
    out = sparse(rule, tau)
    assert torch.equal(tau, before)
    assert bool(((out == 0) | (out.sign() == tau.sign())).all())
    assert torch.equal(out, sparse(rule, tau))


@pytest.mark.parametrize("rule", ALL, ids=str)
def test_all_zero_stays_zero(rule):
    assert torch.equal(sparse(rule, torch.zeros(3, 5)), torch.zeros(3, 5))


@pytest.mark.parametrize("rule", [r for r in ALL if not isinstance(r, Dare)], ids=str)
def test_scale_and_permutation_equivariance(rule):
    tau = normal(2000)
    torch.testing.assert_close(
        sparse(rule, tau * 8), sparse(rule, tau) * 8, rtol=1e-5, atol=0
    )
    order = torch.from_numpy(np.random.default_rng(5).permutation(2000))
    torch.testing.assert_close(
        sparse(rule, tau[order]), sparse(rule, tau)[order], rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(
    "rule", [r for r in ALL if getattr(r, "norm", "none") != "none"], ids=str
)
def test_norm_is_restored(rule):
    p = 1 if rule.norm == "l1" else 2
    tau = normal(5000)
    assert float(sparse(rule, tau).double().norm(p)) == pytest.approx(
        float(tau.double().norm(p)), rel=1e-6
    )


# --- DARE


def test_dare_keeps_its_rate_and_rescales():
    out = sparse(Dare(0.1, seed=0), torch.ones(200_000))
    kept = float((out != 0).double().mean())
    assert abs(kept - 0.1) < 5 * (0.1 * 0.9 / 200_000) ** 0.5
    assert out.unique().tolist() == [0, pytest.approx(10)]


def test_dare_depends_on_seed_task_and_tensor_alone():
    tau = torch.ones(1000)
    masks = {
        (seed, task, name): tuple(
            (Dare(0.5, seed).plan(Vector.of(tau, task, name)).apply(tau) != 0).tolist()
        )
        for seed in (0, 1)
        for task in "ab"
        for name in "xy"
    }
    assert len(set(masks.values())) == len(masks)


def test_random_cut_reads_any_offset():
    cut, tau = RandomCut(("w",), 1001, 0.5, 2.0), torch.ones(1001)
    whole = cut.apply(tau)
    for start, stop in ((0, 1), (1, 2), (499, 777), (1000, 1001)):
        assert torch.equal(cut.apply(tau[start:stop], start), whole[start:stop])


# --- what must be refused


@pytest.mark.parametrize(
    "make",
    [
        lambda: Magnitude(0.0),
        lambda: Magnitude(1.5),
        lambda: Magnitude(0.5, scope="layer cake"),
        lambda: Magnitude(0.5, norm="l3"),
        lambda: Magnitude(0.5, count="some"),
        lambda: Magnitude(0.5, equals="first"),
        lambda: TADrop(0.5, 0.9, equals="some"),
        lambda: Dare(-0.1, seed=0),
        lambda: TADrop(0.9, 0.5),
        lambda: TADrop(0.5, 0.5),
        lambda: TADrop(0.0, 0.5),
        lambda: TADrop(0.5, 1.1),
        lambda: TADrop(0.5, 0.9, norm="max"),
        lambda: TADrop(0.5, 0.9, map="cubic"),
        lambda: TADrop(0.5, 0.9, map="power", gamma=0.0),
        lambda: TADrop(0.5, 0.9, s_min=0.9, s_max=0.1),
        lambda: TADrop(0.5, 0.9, assign="random"),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(TadropError):
        make()


WTE = (
    50_257,
    768,
)  # GPT-2's largest tensor: more than twice the entries that torch.quantile takes


@pytest.fixture(scope="module")
def wte():
    return torch.randn(WTE, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize("quantiles", [(0.3, 0.9), (0.5, 0.99)])
def test_wte_has_numpys_ratio_and_the_exact_count(wte, quantiles):
    low, high = np.quantile(wte.abs().numpy(), quantiles)
    cut = TADrop(*quantiles, norm="l1").plan(in_pieces(wte, 1 << 17))
    facts = cut.facts()
    assert facts.ratio == pytest.approx(low / high, rel=1e-6)
    found = cut.apply(wte)
    kept = found != 0
    assert int(kept.sum()) == wte.numel() - int(np.floor(facts.ratio * wte.numel()))
    assert wte[kept].abs().min() >= wte[~kept].abs().max()
    assert float(found.abs().double().sum()) == pytest.approx(
        float(wte.abs().double().sum()), rel=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        Magnitude(0.2),
        Magnitude(0.2, count="ties"),
        Dare(0.1, seed=0),
        MagPrune(0.7, window=0.14, seed=0),
        RowMagnitude(0.15, outliers=0.006),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_every_sparsifier_takes_wte(wte, rule):
    found = rule.plan(in_pieces(wte, 1 << 17)).apply(wte)
    kept = found != 0
    assert float(kept.double().mean()) == pytest.approx(rule.keep, abs=6e-3)
    assert torch.equal(found.sign()[kept], wte.sign()[kept])
    if isinstance(rule, Magnitude):
        assert torch.equal(found[kept], wte[kept])
        assert wte[kept].abs().min() >= wte[~kept].abs().max()


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.0, 0.2), (0.1, 0.25), (0.4, 0.7), (0.6, 0.7), (1.0, 0.7)]
)
def test_the_affine_map_stays_between_s_min_and_s_max(ratio, expected):
    rule = TADrop(0.3, 0.9, map="affine", slope=1.5, offset=0.1, s_min=0.2, s_max=0.7)
    assert rule.sparsity(ratio) == pytest.approx(expected)


def test_s_max_limits_what_an_even_tensor_loses():
    tau = torch.linspace(0.9, 1.0, 1000)  # a ratio near 1
    free = TADrop(0.3, 0.9, map="affine").plan(Vector.of(tau))
    held = TADrop(0.3, 0.9, map="affine", s_max=0.25).plan(Vector.of(tau))
    assert free.kept < 100
    assert held.kept == 750
