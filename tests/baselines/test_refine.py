"""What comes after a merge: adaptation on test inputs, adapters, experts behind routers."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines import (
    adamerging,
    reference,
    smile,
    surgery,
    task_arithmetic,
    ties,
    twin,
    twin_router,
)
from tadrop.evaluation.bench import evaluate, install
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.modules.taps import Product
from tadrop.sparsify.cut_stream import Sparse
from tadrop.sparsify.magnitude import Magnitude
from tadrop.types import MatrixLayout, LowRank, TadropError
from tadrop.vectors.merged import materialise
from tests import tiny


@pytest.fixture
def bench(tmp_path):
    return tiny.bench(tmp_path)


def untouched(stream):
    return merge(stream, Method(reference.pretrained))


def summed(stream):
    return merge(stream, Method(task_arithmetic.merge))


def refine(build, merged, stream, bench, scale=1.0, **knobs):
    return build(merged, stream, bench, scale, lambda: None, **knobs)


def outputs(bench, merged, task, inputs, scale=1.0):
    """What the evaluator would see."""
    install(
        bench.backbone.places(bench.module),
        materialise(bench.base, merged, task, scale),
    )
    bench.equip(task)
    with torch.inference_mode(), merged.attached(bench.module, task):
        return bench.module(inputs)


def own_outputs(bench, task, inputs):
    """What the individual model says."""
    bench.load(bench.expert(task, bench.base.tensors))
    bench.equip(task)
    with torch.inference_mode():
        return bench.module(inputs)


# --- AdaMerging


def loss_at(bench, stream, coefficients, batches):
    """The summed entropy as a function of the coefficients, by the definition."""
    bench.load(
        (
            name,
            bench.theta0(name)
            + torch.einsum("t,t...->...", coefficients[:, i], stream.taus(name)),
        )
        for i, name in enumerate(stream.names)
    )
    total = 0.0
    for task, batch in batches.items():
        bench.equip(task)
        with torch.no_grad():
            p = bench.module(batch).double().softmax(-1)
        total += float(-(p * p.log()).sum(-1).mean())
    return total


def test_the_gradient_by_the_coefficients_is_the_slope_of_the_entropy(bench):
    stream = tiny.stream(bench)
    batches = {task: bench.tasks.inputs(task, "test")[:8] for task in stream.tasks}
    at = 0.3 + 0.1 * tiny.normal(3, len(stream.names), words="coefficients")
    bench.load(
        (n, bench.theta0(n) + d)
        for n, d in adamerging.weighted(stream, adamerging.plain(stream), at)
    )
    gradients = adamerging.weight_gradients(bench, stream.names, batches)
    found = adamerging.slopes(stream, adamerging.plain(stream), gradients)
    for t, i in ((0, 0), (1, 2), (2, len(stream.names) - 1)):
        step = torch.zeros_like(at)
        step[t, i] = 1e-2
        slope = (
            loss_at(bench, stream, at + step, batches)
            - loss_at(bench, stream, at - step, batches)
        ) / 2e-2
        assert found[t, i] == pytest.approx(slope, rel=0.03, abs=2e-3)
    assert not any(p.requires_grad for p in bench.module.parameters())


def adapted(bench, stream, wise="layer", **knobs):
    knobs = {"split": "test", "seed": 0, "steps": 3, "size": 8} | knobs
    return refine(
        adamerging.adapt, untouched(stream), stream, bench, wise=wise, **knobs
    )


def test_no_step_is_task_arithmetic(bench):
    stream = tiny.stream(bench)
    start, plain = adapted(bench, stream, steps=0), summed(stream)
    for name in stream.names:
        torch.testing.assert_close(
            start.delta("t0", name), 0.3 * plain.delta("t0", name)
        )
    assert start.is_shared


def test_the_first_step_of_adam_moves_every_coefficient_by_the_rate(bench):
    stream = tiny.stream(bench)
    merged = adapted(bench, stream, steps=1, rate=0.01)
    taus = stream.taus("first.weight").flatten(1).double()
    found = torch.linalg.lstsq(
        taus.T, merged.delta("t0", "first.weight").flatten().double()
    ).solution
    torch.testing.assert_close(
        (found - 0.3).abs(), torch.full((3,), 0.01).double(), rtol=0.02, atol=1e-5
    )


def test_adaptation_lowers_the_entropy(bench):
    stream = tiny.stream(bench)
    batches = {task: bench.tasks.inputs(task, "test") for task in stream.tasks}
    at = torch.full((3, len(stream.names)), 0.3)
    before = loss_at(bench, stream, at, batches)

    def after(wise):
        merged = adapted(bench, stream, wise, steps=40, rate=0.01, size=24)
        install(
            bench.backbone.places(bench.module),
            materialise(bench.base, merged, "t0", 1.0),
        )
        total = 0.0
        for task, batch in batches.items():
            bench.equip(task)
            total += float(adamerging.entropy(bench.module(batch)))
        return total

    task_wise, layer_wise = after("task"), after("layer")
    assert layer_wise < task_wise < before


def test_coefficients_stay_between_0_and_1(bench):
    stream = tiny.stream(bench)
    merged = adapted(bench, stream, steps=5, rate=10.0)
    taus = stream.taus("second.weight").flatten(1).double()
    found = torch.linalg.lstsq(
        taus.T, merged.delta("t0", "second.weight").flatten().double()
    ).solution
    assert ((found > -1e-5) & (found < 1 + 1e-5)).all()
    assert ((found < 1e-5) | (found > 1 - 1e-5)).any()


def test_a_coefficient_beyond_1_is_used_as_1_and_stays(bench):
    stream = tiny.stream(bench)
    merged, plain = adapted(bench, stream, init=1.5, steps=1, rate=1.0), summed(stream)
    for name in stream.names:
        torch.testing.assert_close(merged.delta("t0", name), plain.delta("t0", name))


def test_task_wise_has_one_coefficient_a_task(bench):
    stream = tiny.stream(bench)
    merged = adapted(bench, stream, "task", steps=4, rate=0.05)
    found = []
    for name in ("first.weight", "second.weight"):
        taus = stream.taus(name).flatten(1).double()
        found.append(
            torch.linalg.lstsq(
                taus.T, merged.delta("t0", name).flatten().double()
            ).solution
        )
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


def test_plus_plus_adds_up_to_ties_with_its_sum(bench):
    stream = Sparse(tiny.stream(bench), Magnitude(0.5, count="ties", scope="model"))
    merged = adapted(bench, stream, steps=0, view=adamerging.elected)
    expected = merge(
        stream, Method(partial(ties.merge, combine="sum"), survey=ties.survey)
    )
    for name in stream.names:
        torch.testing.assert_close(
            merged.delta("t0", name), 0.3 * expected.delta("t0", name)
        )


def test_adaptation_twice_gives_the_same_bits_and_another_seed_others(bench):
    stream = tiny.stream(bench)
    runs = [adapted(bench, stream, seed=seed) for seed in (0, 0, 1)]
    deltas = [run.delta("t0", "first.weight") for run in runs]
    assert torch.equal(deltas[0], deltas[1])
    assert not torch.equal(deltas[0], deltas[2])


def test_wise_is_task_or_layer(bench):
    with pytest.raises(TadropError, match="task or layer"):
        adapted(bench, tiny.stream(bench), wise="block")


# --- Surgery


def test_surgery_brings_features_closer_to_the_individual_models(bench):
    stream = tiny.stream(bench)
    merged = summed(stream)
    fixed = refine(
        surgery.adapt,
        merged,
        stream,
        bench,
        0.3,
        split="test",
        seed=0,
        rank=4,
        steps=300,
        rate=1e-2,
    )
    for task in stream.tasks:
        install(
            bench.backbone.places(bench.module),
            materialise(bench.base, merged, task, 0.3),
        )
        before = bench.features(task, "test")
        after = surgery.corrected(before, *fixed.attachment.weights[task])
        bench.load(bench.expert(task, stream.names))
        own = bench.features(task, "test")
        assert F.l1_loss(after, own) < 0.8 * F.l1_loss(before, own)


def test_the_adapter_is_in_effect_only_while_attached(bench):
    stream = tiny.stream(bench)
    fixed = refine(
        surgery.adapt,
        summed(stream),
        stream,
        bench,
        0.3,
        split="test",
        seed=0,
        rank=4,
        steps=20,
    )
    inputs = bench.tasks.inputs("t1", "test")
    found = outputs(bench, fixed, "t1", inputs, 0.3)
    plain = outputs(bench, replace(fixed, attachment=None), "t1", inputs, 0.3)
    assert not torch.allclose(found, plain)
    features = torch.tanh(bench.module.norm(bench.module.first(inputs)))
    z = bench.module.second(features)
    down, up = fixed.attachment.weights["t1"]
    torch.testing.assert_close(
        found, bench.module.head(z - torch.relu(z @ down.T) @ up.T)
    )
    assert (
        fixed.stored_bytes()
        == replace(fixed, attachment=None).stored_bytes() + 3 * 2 * 4 * tiny.WIDTH * 4
    )


def test_surgery_twice_gives_the_same_bits(bench):
    stream = tiny.stream(bench)
    runs = [
        refine(
            surgery.adapt,
            summed(stream),
            stream,
            bench,
            0.3,
            split="test",
            seed=0,
            rank=2,
            steps=9,
        )
        for _ in "ab"
    ]
    assert all(
        torch.equal(a, b)
        for a, b in zip(*(run.attachment.weights["t2"] for run in runs), strict=True)
    )


def test_a_model_that_does_not_name_its_head_is_told_so(bench):
    nameless = replace(bench, backbone=replace(bench.backbone, head=None))
    with pytest.raises(TadropError, match=r"model\.head"):
        refine(
            surgery.adapt,
            summed(tiny.stream(bench)),
            tiny.stream(bench),
            nameless,
            split="test",
            seed=0,
        )


# --- SMILE


def test_smile_of_full_rank_with_one_expert_is_the_dense_layer(tmp_path):
    bench = tiny.bench(tmp_path, tasks=1)
    stream = tiny.stream(bench)
    merged = refine(smile.build, untouched(stream), stream, bench, keep=1.0)
    inputs = bench.tasks.inputs("t0", "test")
    linear = [n for n in stream.names if not n.startswith("norm")]
    bench.load((n, bench.theta0(n)) for n in stream.names)
    bench.load(bench.expert("t0", linear))  # all else stays pretrained
    bench.equip("t0")
    with torch.inference_mode():
        expected = bench.module(inputs)
    torch.testing.assert_close(
        outputs(bench, merged, "t0", inputs), expected, rtol=1e-4, atol=1e-4
    )


def test_smile_layer_against_a_loop_over_tokens():
    taus, biases = tiny.normal(3, 5, 4, words="taus"), tiny.normal(3, 5, words="biases")
    x = tiny.normal(7, 4, words="x")
    layer = smile.layer(taus, biases, "bias", keep=0.5, gate=2)
    found = layer.delta(x, active=2)
    for token, row in zip(x, found, strict=True):
        scores, experts = [], []
        for tau, bias in zip(taus, biases, strict=True):
            u, s, vh = torch.linalg.svd(tau, full_matrices=False)
            scores.append((vh[:2] @ token).norm())
            experts.append((u[:, :2] * s[:2]) @ vh[:2] @ token + bias)
        weights = torch.stack(scores).softmax(0)
        weights[weights.argmin()] = 0
        expected = sum(
            w * e for w, e in zip(weights / weights.sum(), experts, strict=True)
        )
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)


def test_smile_routes_each_token_to_the_expert_that_answers_loudest():
    router = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    weights = smile.route(torch.tensor([[3.0, 0.1], [0.1, -3.0]]), router, active=1)
    assert weights.tolist() == [[1, 0], [0, 1]]


def test_smile_leaves_a_layer_that_no_task_changed_alone(bench):
    stream = tiny.stream(bench)
    still = {"second.weight", "second.bias"}
    frozen = replace(
        bench,
        experts={
            t: replace(c, tensors={**c.tensors, **{n: bench.base[n] for n in still}})
            for t, c in bench.experts.items()
        },
    )
    merged = refine(
        smile.build, untouched(stream), tiny.stream(frozen), frozen, keep=0.5
    )
    assert set(merged.attachment.layers) == {"first.weight"}


def test_smile_at_a_single_direction_keeps_at_least_one():
    layer = smile.layer(tiny.normal(2, 1, 4, words="row"), None, None, keep=0.1, gate=5)
    assert layer.down.shape == (2, 1, 4)
    assert layer.router.shape == (2, 1, 4)
    assert torch.isfinite(layer.delta(torch.zeros(3, 4), 1)).all()


def test_smile_stores_the_router_once():
    layer = smile.layer(
        tiny.normal(2, 5, 4, words="taus"),
        tiny.normal(2, 5, words="b"),
        "b",
        keep=0.5,
        gate=1,
    )
    assert layer.stored_bytes() == 4 * 2 * (2 * 4 + 5 * 2 + 5)
    wide = smile.layer(
        tiny.normal(2, 5, 4, words="taus"), None, None, keep=0.25, gate=3
    )
    assert wide.stored_bytes() == 4 * 2 * (4 + 5 + 3 * 4)


def test_smile_on_a_weight_that_lies_in_x_out(bench):
    stream = tiny.stream(bench)
    turned = {**stream.matrix_layouts, "second.weight": MatrixLayout("linear", transposed=True)}
    upright = refine(
        smile.build, untouched(stream), stream, bench, keep=1.0
    ).attachment.layers["second.weight"]
    lying = refine(
        smile.build, untouched(stream), replace(stream, matrix_layouts=turned), bench, keep=1.0
    )
    lying = lying.attachment.layers["second.weight"]
    x = tiny.normal(3, tiny.WIDTH, words="x")
    taus = stream.taus("second.weight")[:1]
    one = smile.layer(taus, None, None, 1.0, 1)
    torch.testing.assert_close(one.delta(x, 1), x @ taus[0].T, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(upright.up, lying.up)


def test_a_matrix_that_is_no_layer_is_an_error(bench):
    stream = tiny.stream(bench)
    merged = refine(smile.build, untouched(stream), stream, bench, keep=0.5)
    layers = dict(merged.attachment.layers)
    layers["norm.weight"] = layers["first.weight"]
    wrong = replace(
        merged, attachment=smile.Experts(layers, 1, merged.attachment.slots)
    )
    with pytest.raises(TadropError, match=r"norm\.weight"):
        outputs(bench, wrong, "t0", bench.tasks.inputs("t0", "test"))


@pytest.mark.parametrize(
    "knobs", [{"keep": 0}, {"keep": 0.5, "active": 4}, {"keep": 0.5, "gate": 0}]
)
def test_smile_refuses_nonsense(bench, knobs):
    stream = tiny.stream(bench)
    with pytest.raises(TadropError):
        refine(smile.build, untouched(stream), stream, bench, **knobs)


# --- Twin-Merging


class Oracle(nn.Module):
    """A router that knows the task."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def forward(self, features):
        return F.one_hot(torch.full((len(features),), self.at), 3) * 1e4


def mixture(bench, stream, **knobs):
    knobs = {"split": "train", "seed": 0, "epochs": 2, "size": 16} | knobs
    return refine(twin.build, summed(stream), stream, bench, 0.29, **knobs)


def test_twin_that_drops_nothing_and_routes_right_is_the_individual_model(bench):
    stream = tiny.stream(bench)
    merged = mixture(bench, stream, keep=1.0)
    for at, task in enumerate(stream.tasks):
        known = replace(
            merged, attachment=replace(merged.attachment, router=Oracle(at))
        )
        inputs = bench.tasks.inputs(task, "test")
        expected = own_outputs(bench, task, inputs)
        torch.testing.assert_close(
            outputs(bench, known, task, inputs, 0.29), expected, rtol=1e-3, atol=1e-4
        )


def test_every_input_runs_on_its_own_weights(bench):
    stream = tiny.stream(bench)
    merged = mixture(bench, stream, keep=0.4)
    inputs = bench.tasks.inputs("t1", "test")[:6]
    found = outputs(bench, merged, "t1", inputs, 0.29)
    shared = {n: bench.base[n] + 0.29 * merged.delta("t1", n) for n in stream.names}
    for x, row in zip(inputs, found, strict=True):
        bench.load(shared.items())
        features = bench.module.second(
            torch.tanh(bench.module.norm(bench.module.first(x[None])))
        )
        weights = merged.attachment.router(features).softmax(-1)[0]
        bench.load(
            (n, shared[n] + torch.einsum("t,t...->...", weights, twin.dense(v)))
            for n, v in merged.attachment.exclusive.items()
        )
        torch.testing.assert_close(row, bench.module(x[None])[0], rtol=1e-4, atol=1e-4)


def test_what_a_thin_vector_adds_is_its_matrix_times_the_input():
    left, right, mix = (
        tiny.normal(3, 5, 2, words="l"),
        tiny.normal(3, 2, 4, words="r"),
        torch.tensor([0.2, 0.5, 0.3]),
    )
    weight = torch.tensordot(mix, left @ right, dims=1)  # [5, 4]
    x, y = tiny.normal(7, 4, words="x"), tiny.normal(7, 5, words="y")
    vectors = LowRank(left, right)
    upright, lying = Product("w", None, x), Product("w", None, y, transposed=True)
    torch.testing.assert_close(
        twin.added(upright, vectors, mix), x @ weight.T, rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        twin.added(lying, vectors, mix), y @ weight, rtol=1e-4, atol=1e-5
    )


def test_twin_refuses_a_matrix_that_is_no_layer(bench):
    stream = tiny.stream(bench)
    merged = mixture(bench, stream, keep=0.4)
    exclusive = dict(merged.attachment.exclusive) | {
        "norm.weight": LowRank(torch.ones(3, 6, 1), torch.ones(3, 1, 1))
    }
    linear = merged.attachment.linear | {"norm.weight"}
    wrong = replace(
        merged,
        attachment=replace(merged.attachment, exclusive=exclusive, linear=linear),
    )
    with pytest.raises(TadropError, match=r"norm\.weight"):
        outputs(bench, wrong, "t0", bench.tasks.inputs("t0", "test"), 0.29)


def test_twin_in_small_parts_is_the_same(bench, monkeypatch):
    stream = tiny.stream(bench)
    merged, inputs = mixture(bench, stream), bench.tasks.inputs("t0", "test")
    whole = outputs(bench, merged, "t0", inputs, 0.29)
    monkeypatch.setattr(twin, "BUDGET", 250)
    torch.testing.assert_close(outputs(bench, merged, "t0", inputs, 0.29), whole)


def test_the_router_learns_tasks_that_can_be_told_apart(bench):
    features = torch.cat(
        [
            tiny.normal(60, 8, words=i) + 4 * tiny.normal(8, words=("m", i))
            for i in range(3)
        ]
    )
    labels = torch.arange(3).repeat_interleave(60)
    routers = [
        twin_router.train(features, labels, 3, 15, 5e-3, 32, seed) for seed in (0, 0, 1)
    ]
    assert (routers[0](features).argmax(1) == labels).float().mean() > 0.95
    same, other = routers[1].state_dict(), routers[2].state_dict()
    assert all(torch.equal(t, same[n]) for n, t in routers[0].state_dict().items())
    assert not torch.equal(routers[0].state_dict()["0.weight"], other["0.weight"])


def test_compression_keeps_the_leading_directions():
    vectors = tiny.normal(2, 20, 30, words="v")
    thin = twin.compress(vectors, 0.1)
    assert thin.left.shape == (2, 20, 2)
    u, s, vh = torch.linalg.svd(vectors[1])
    torch.testing.assert_close(
        twin.dense(thin)[1], (u[:, :2] * s[:2]) @ vh[:2], rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(
        twin.compress(vectors, 1.0), vectors, rtol=1e-4, atol=1e-4
    )
    assert twin.compress(tiny.normal(2, 3, 3, words="small"), 0.1).left.shape == (
        2,
        3,
        1,
    )  # int() would keep nothing


def test_twin_needs_one_shared_model(bench):
    stream = tiny.stream(bench)
    individual = merge(stream, Method(reference.individual))
    with pytest.raises(TadropError, match="shared"):
        refine(twin.build, individual, stream, bench, split="train", seed=0)


# --- all of them, as the evaluator runs them


def rows(bench, stream):
    yield adapted(bench, stream), 1.0
    yield (
        refine(
            surgery.adapt,
            summed(stream),
            stream,
            bench,
            0.3,
            split="test",
            seed=0,
            rank=2,
            steps=3,
        ),
        0.3,
    )
    yield refine(smile.build, untouched(stream), stream, bench, keep=0.5), 1.0
    yield mixture(bench, stream), 0.29


def test_the_evaluator_needs_no_special_case(bench):
    stream = tiny.stream(bench)
    for merged, scale in rows(bench, stream):
        scores = evaluate(bench, merged, scale, "test")
        for score in scores:
            targets = torch.cat([y for _, y in bench.tasks.batches(score.task, "test")])
            found = outputs(
                bench, merged, score.task, bench.tasks.inputs(score.task, "test"), scale
            )
            assert score.value == pytest.approx(
                float((found.argmax(1) == targets).double().mean())
            )
        assert [s.value for s in evaluate(bench, merged, scale, "test")] == [
            s.value for s in scores
        ]


def test_a_base_that_nothing_was_added_to_is_not_stored(bench):
    stream = tiny.stream(bench)
    assert untouched(stream).stored_bytes() == 0
    merged = refine(smile.build, untouched(stream), stream, bench, keep=0.5)
    assert merged.stored_bytes() == merged.attachment.stored_bytes() > 0
