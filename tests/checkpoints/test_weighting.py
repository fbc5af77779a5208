"""Weights and densities by expert, tensor and depth, against the formulas by hand."""

import pytest
import torch

from tadrop import merge_checkpoints
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.types import TadropError
from tests.checkpoints import family

SHAPES = {
    "embed.weight": (12, 5),
    "layers.0.w.weight": (6, 5),
    "layers.1.w.weight": (6, 5),
    "layers.2.w.weight": (6, 5),
    "norm.weight": (5,),
}
FIRST, LAST = "layers.0.w.weight", "layers.2.w.weight"


@pytest.fixture
def world(tmp_path):
    base, experts, theta0, thetas = family(tmp_path, 2, shapes=SHAPES)
    taus = {}
    for name in SHAPES:
        taus[name] = torch.stack([theta[name] - theta0[name] for theta in thetas])

    def merged(method, out="out", **more):
        settings = {"scale": 1.0, **more}
        written = merge_checkpoints(base, experts, tmp_path / out, method, **settings)
        again = open_checkpoint(written.path)
        return {name: again[name] - theta0[name] for name in SHAPES}

    return taus, merged


def near(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=3e-7)


def ties(taus, weights):
    """Elect and take the mean that weights make, entry by entry."""
    weighted = taus * weights.view(-1, *[1] * (taus.dim() - 1))
    out = torch.zeros(taus.shape[1:]).flatten()
    flat = weighted.flatten(1)
    for entry in range(flat.shape[1]):
        column = flat[:, entry]
        sign = 1 if column.sum() > 0 else -1
        chosen = column * sign > 0
        divisor = weights[chosen].sum()
        out[entry] = column[chosen].sum() / divisor if chosen.any() else 0
    return out.view(taus.shape[1:])


def test_an_average_is_divided_by_the_weights(world):
    taus, merged = world
    deltas = merged("average", weights={"a": 1.0, "b": 3.0})
    for name, tau in taus.items():
        near(deltas[name], (tau[0] + 3 * tau[1]) / 4)


def test_a_sum_is_not(world):
    taus, merged = world
    deltas = merged("task_arithmetic", weights={"a": -0.5, "b": 2.0})
    for name, tau in taus.items():
        near(deltas[name], -0.5 * tau[0] + 2 * tau[1])


@pytest.mark.parametrize("pair", [(0.3, 0.7), (2.0, 1.0)])
def test_ties_divides_by_the_weights_that_agree(world, pair):
    taus, merged = world
    weights = dict(zip("ab", pair, strict=True))
    deltas = merged("ties", weights=weights, overrides=["sparsify.keep=1.0"])
    for name, tau in taus.items():
        near(deltas[name], ties(tau, torch.tensor(pair)))


def test_magmax_and_della(world):
    taus, merged = world
    deltas = merged("magmax", weights={"a": 1.0, "b": 3.0})
    for name, tau in taus.items():
        scaled = tau * torch.tensor([1.0, 3.0]).view(-1, *[1] * (tau.dim() - 1))
        index = scaled.abs().argmax(0, keepdim=True)
        near(deltas[name], scaled.gather(0, index)[0])
    whole = ["sparsify.keep=1.0", "sparsify.window=0.0"]
    deltas = merged("della", "two", weights={"a": 1.0, "b": 3.0}, overrides=whole)
    for name, tau in taus.items():
        near(deltas[name], ties(tau, torch.tensor([1.0, 3.0])))


def test_weights_of_one_are_no_weights(world):
    _, merged = world
    for method in ("average", "task_arithmetic", "ties", "dare", "breadcrumbs"):
        plain = merged(method, f"{method}1")
        weighted = merged(method, f"{method}2", weights={"a": 1.0, "b": 1.0})
        for name in SHAPES:
            assert torch.equal(plain[name], weighted[name]), (method, name)


def test_a_gradient_runs_over_depth(world):
    taus, merged = world
    deltas = merged("task_arithmetic", weights={"a": [0.0, 1.0], "b": [1, 1, 3]})
    shares = {
        "embed.weight": (0, 1),
        FIRST: (0, 1),
        LAST: (1, 3),
        "norm.weight": (0, 1),
    }
    shares["layers.1.w.weight"] = (0.5, 1)
    for name, (one, other) in shares.items():
        near(deltas[name], one * taus[name][0] + other * taus[name][1])


def test_rules_go_by_pattern_and_the_first_counts(world):
    taus, merged = world
    rules = [
        {"tensors": "layers.2.*", "value": 0.0},
        {"tensors": "layers.*", "value": 2},
    ]
    deltas = merged("task_arithmetic", weights={"a": rules})
    near(deltas[LAST], taus[LAST][1])
    near(deltas[FIRST], 2 * taus[FIRST][0] + taus[FIRST][1])
    near(deltas["norm.weight"], taus["norm.weight"].sum(0))


def test_densities_by_expert_and_tensor(world):
    taus, merged = world
    rules = {"a": 0.5, "b": [{"tensors": "layers.*", "value": [1.0, 0.1]}]}
    deltas = merged("ties_tensor", density=rules, overrides=["sparsify.keep=0.9"])
    for name, counts in ((FIRST, (15, 30)), (LAST, (15, 3)), ("norm.weight", (2, 4))):
        kept = torch.zeros_like(taus[name]).flatten(1)
        for task, count in enumerate(counts):
            flat = taus[name][task].flatten()
            index = flat.abs().topk(count).indices
            kept[task, index] = flat[index]
        wanted = ties(kept.view(taus[name].shape), torch.ones(2))
        near(deltas[name], wanted)


@pytest.mark.parametrize(
    ("method", "more", "line"),
    [
        (
            "emr",
            {"weights": {"a": 0.5}},
            "merge=emr has no weights: its formula does n",
        ),
        (
            "ties",
            {"weights": {"c": 0.5}},
            "model.weights names 'c'; the experts are a, b",
        ),
        ("ties", {"weights": {"a": "x"}}, "model.weights has 'x'; it is a number"),
        ("ties", {"weights": {"a": float("nan")}}, "model.weights has nan"),
        ("average", {"weights": {"a": 1, "b": -1}}, "needs weights whose sum is not 0"),
        ("average", {"density": {"a": 0.5}}, "sparsifier keeps; this row has none"),
        ("ties", {"density": {"a": 0.5}, "tadrop": True}, "TADrop stands in for it"),
        ("ties", {"density": {"a": 1.5}}, "keep is 1.5; it is the fraction kept"),
        ("ties", {"density": {"a": [0.1, 0.9]}}, "cuts a whole model at once; give"),
        (
            "task_arithmetic",
            {"weights": {"a": [{"tensors": "q*", "value": 1}]}},
            r"model.weights: no merged tensor is called 'q\*'",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(world, method, more, line):
    _, merged = world
    with pytest.raises(TadropError, match=line):
        merged(method, **more)
