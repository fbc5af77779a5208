"""Twin-Merging: inputs on weights of their own, the router, compression."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines import reference, twin, twin_router
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.modules.taps import Product
from tadrop.types import LowRank, TadropError
from tests import tiny
from tests.baselines.refining import outputs, own_outputs, refine, summed

SCALE = 0.29


class Oracle(nn.Module):
    """A router that knows the task."""

    def __init__(self, index):
        super().__init__()
        self.index = index

    def forward(self, features):
        return F.one_hot(torch.full((len(features),), self.index), 3) * 1e4


def mixture(bench, stream, **knobs):
    """The sum of task vectors with exclusive vectors and a router."""
    usual = {"split": "train", "seed": 0, "epochs": 2, "size": 16, "biases": "merged"}
    knobs = usual | knobs
    return refine(twin.build, summed(stream), stream, bench, SCALE, **knobs)


def changed(merged, **words):
    """The merge with some of its attachment's fields changed."""
    return replace(merged, attachment=replace(merged.attachment, **words))


def test_twin_that_drops_nothing_and_routes_right_is_the_individual_model(bench):
    stream = tiny.stream(bench)
    merged = mixture(bench, stream, keep=1.0)
    for index, task in enumerate(stream.tasks):
        routed = changed(merged, router=Oracle(index))
        inputs = bench.tasks.inputs(task, "test")
        expected = own_outputs(bench, task, inputs)
        answer = outputs(bench, routed, task, inputs, SCALE)
        torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-4)


def test_biases_stay_as_in_the_base(bench):
    stream = tiny.stream(bench)
    biases = {name for name in stream.names if "bias" in name}
    merged = mixture(bench, stream, keep=1.0, biases="pretrained")
    assert biases
    assert set(merged.attachment.exclusive) == set(stream.names) - biases
    for name in stream.names:
        delta = merged.delta("t0", name)
        assert delta.any() == (name not in biases), name
    routed = changed(merged, router=Oracle(0))
    inputs = bench.tasks.inputs("t0", "test")
    answer = outputs(bench, routed, "t0", inputs, SCALE)
    own = dict(bench.expert("t0", stream.names))
    bench.load(
        (name, bench.base[name] if name in biases else own[name]) for name in own
    )
    bench.equip("t0")
    expected = bench.module(inputs)
    torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(TadropError, match="pretrained or merged"):
        mixture(bench, stream, biases="none")


def test_every_input_runs_on_its_own_weights(bench):
    stream = tiny.stream(bench)
    merged = mixture(bench, stream, keep=0.4)
    exclusive = merged.attachment.exclusive
    inputs = bench.tasks.inputs("t1", "test")[:6]
    answers = outputs(bench, merged, "t1", inputs, SCALE)
    shared = {}
    for name in stream.names:
        shared[name] = bench.base[name] + SCALE * merged.delta("t1", name)

    def own(mix):
        for name, vectors in exclusive.items():
            growth = torch.einsum("t,t...->...", mix, twin.dense(vectors))
            yield name, shared[name] + growth

    for x, row in zip(inputs, answers, strict=True):
        bench.load(shared.items())
        hidden = torch.tanh(bench.module.norm(bench.module.first(x[None])))
        features = bench.module.second(hidden)
        bench.load(own(merged.attachment.router(features).softmax(-1)[0]))
        torch.testing.assert_close(row, bench.module(x[None])[0], rtol=1e-4, atol=1e-4)


def test_what_a_thin_vector_adds_is_its_matrix_times_the_input():
    left, right = tiny.normal(3, 5, 2, words="l"), tiny.normal(3, 2, 4, words="r")
    mix = torch.tensor([0.2, 0.5, 0.3])
    weight = torch.tensordot(mix, left @ right, dims=1)  # [5, 4]
    x, y = tiny.normal(7, 4, words="x"), tiny.normal(7, 5, words="y")
    vectors = LowRank(left, right)
    upright = twin.added(Product("w", None, x), vectors, mix)
    lying = twin.added(Product("w", None, y, transposed=True), vectors, mix)
    torch.testing.assert_close(upright, x @ weight.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(lying, y @ weight, rtol=1e-4, atol=1e-5)


def test_twin_refuses_a_matrix_that_is_no_layer(bench):
    merged = mixture(bench, tiny.stream(bench), keep=0.4)
    thin = LowRank(torch.ones(3, 6, 1), torch.ones(3, 1, 1))
    exclusive = {**merged.attachment.exclusive, "norm.weight": thin}
    linear = merged.attachment.linear | {"norm.weight"}
    wrong = changed(merged, exclusive=exclusive, linear=linear)
    with pytest.raises(TadropError, match=r"norm\.weight"):
        outputs(bench, wrong, "t0", bench.tasks.inputs("t0", "test"), SCALE)


def test_twin_in_small_parts_is_the_same(bench, monkeypatch):
    merged = mixture(bench, tiny.stream(bench))
    inputs = bench.tasks.inputs("t0", "test")
    whole = outputs(bench, merged, "t0", inputs, SCALE)
    monkeypatch.setattr(twin, "BUDGET", 250)
    in_parts = outputs(bench, merged, "t0", inputs, SCALE)
    torch.testing.assert_close(in_parts, whole)


def test_the_router_learns_tasks_that_can_be_told_apart():
    clusters = []
    for task in range(3):
        centre = 4 * tiny.normal(8, words=("m", task))
        clusters.append(tiny.normal(60, 8, words=task) + centre)
    features, labels = torch.cat(clusters), torch.arange(3).repeat_interleave(60)

    def trained(seed):
        return twin_router.train(features, labels, 3, 15, 5e-3, 32, seed)

    router, same, other = trained(0), trained(0), trained(1)
    assert (router(features).argmax(1) == labels).float().mean() > 0.95
    weights = same.state_dict()
    for name, tensor in router.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert not torch.equal(weights["0.weight"], other.state_dict()["0.weight"])


def test_compression_keeps_the_leading_directions():
    vectors = tiny.normal(2, 20, 30, words="v")
    thin = twin.compress(vectors, 0.1)
    assert thin.left.shape == (2, 20, 2)
    u, s, vh = torch.linalg.svd(vectors[1])
    expected = (u[:, :2] * s[:2]) @ vh[:2]
    torch.testing.assert_close(twin.dense(thin)[1], expected, rtol=1e-3, atol=1e-4)
    whole = twin.compress(vectors, 1.0)
    torch.testing.assert_close(whole, vectors, rtol=1e-4, atol=1e-4)
    small = twin.compress(tiny.normal(2, 3, 3, words="small"), 0.1)
    assert small.left.shape == (2, 3, 1)  # int() would keep nothing


def test_twin_needs_one_shared_model(bench):
    stream = tiny.stream(bench)
    individual = merge(stream, Method(reference.individual))
    with pytest.raises(TadropError, match="shared"):
        refine(twin.build, individual, stream, bench, split="train", seed=0)
