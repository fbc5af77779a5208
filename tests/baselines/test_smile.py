"""SMILE: a layer against a loop over tokens, and whole models against dense ones."""

from dataclasses import replace

import pytest
import torch

from baselines import smile
from tadrop.types import MatrixLayout, TadropError
from tests import tiny
from tests.baselines.refining import outputs, refine, untouched


def built(bench, stream, **knobs):
    """The base with experts."""
    return refine(smile.build, untouched(stream), stream, bench, **knobs)


def test_smile_of_full_rank_with_one_expert_is_the_dense_layer(tmp_path):
    bench = tiny.bench(tmp_path, tasks=1)
    stream = tiny.stream(bench)
    merged = built(bench, stream, keep=1.0)
    inputs = bench.tasks.inputs("t0", "test")
    linear = [name for name in stream.names if not name.startswith("norm")]
    bench.load((name, bench.theta0(name)) for name in stream.names)
    bench.load(bench.expert("t0", linear))  # all else stays pretrained
    bench.equip("t0")
    with torch.inference_mode():
        expected = bench.module(inputs)
    answer = outputs(bench, merged, "t0", inputs)
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)


def test_smile_layer_against_a_loop_over_tokens():
    taus, biases = tiny.normal(3, 5, 4, words="taus"), tiny.normal(3, 5, words="biases")
    x = tiny.normal(7, 4, words="x")
    layer = smile.layer(taus, biases, "bias", keep=0.5, gate=2)
    delta = layer.delta(x, active=2)
    for token, row in zip(x, delta, strict=True):
        scores, answers = [], []
        for tau, bias in zip(taus, biases, strict=True):
            u, s, vh = torch.linalg.svd(tau, full_matrices=False)
            scores.append((vh[:2] @ token).norm())
            answers.append((u[:, :2] * s[:2]) @ vh[:2] @ token + bias)
        weights = torch.stack(scores).softmax(0)
        weights[weights.argmin()] = 0
        shares = weights / weights.sum()
        expected = torch.einsum("t,to->o", shares, torch.stack(answers))
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)


def test_smile_routes_each_token_to_the_expert_that_answers_loudest():
    router = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    weights = smile.route(torch.tensor([[3.0, 0.1], [0.1, -3.0]]), router, active=1)
    assert weights.tolist() == [[1, 0], [0, 1]]


def test_smile_leaves_a_layer_that_no_task_changed_alone(bench):
    still = {name: bench.base[name] for name in ("second.weight", "second.bias")}
    experts = {}
    for task, expert in bench.experts.items():
        experts[task] = replace(expert, tensors={**expert.tensors, **still})
    frozen = replace(bench, experts=experts)
    merged = built(frozen, tiny.stream(frozen), keep=0.5)
    assert set(merged.attachment.layers) == {"first.weight"}


def test_smile_at_a_single_direction_keeps_at_least_one():
    layer = smile.layer(tiny.normal(2, 1, 4, words="row"), None, None, keep=0.1, gate=5)
    assert layer.down.shape == (2, 1, 4)
    assert layer.router.shape == (2, 1, 4)
    assert torch.isfinite(layer.delta(torch.zeros(3, 4), 1)).all()


def test_smile_stores_the_router_once():
    taus, biases = tiny.normal(2, 5, 4, words="taus"), tiny.normal(2, 5, words="b")
    layer = smile.layer(taus, biases, "b", keep=0.5, gate=1)
    assert layer.stored_bytes() == 4 * 2 * (2 * 4 + 5 * 2 + 5)
    wide = smile.layer(taus, None, None, keep=0.25, gate=3)
    assert wide.stored_bytes() == 4 * 2 * (4 + 5 + 3 * 4)


def test_smile_on_a_weight_that_lies_in_x_out(bench):
    stream, name = tiny.stream(bench), "second.weight"
    lying = {**stream.matrix_layouts, name: MatrixLayout("linear", transposed=True)}
    turned = replace(stream, matrix_layouts=lying)
    upright_layer = built(bench, stream, keep=1.0).attachment.layers[name]
    lying_layer = built(bench, turned, keep=1.0).attachment.layers[name]
    assert not torch.allclose(upright_layer.up, lying_layer.up)
    x = tiny.normal(3, tiny.WIDTH, words="x")
    taus = stream.taus(name)[:1]
    layer = smile.layer(taus, None, None, 1.0, 1)
    torch.testing.assert_close(layer.delta(x, 1), x @ taus[0].T, rtol=1e-4, atol=1e-5)


def test_a_matrix_that_is_no_layer_is_an_error(bench):
    stream = tiny.stream(bench)
    experts = built(bench, stream, keep=0.5).attachment
    layers = {**experts.layers, "norm.weight": experts.layers["first.weight"]}
    wrong = replace(untouched(stream), attachment=replace(experts, layers=layers))
    with pytest.raises(TadropError, match=r"norm\.weight"):
        outputs(bench, wrong, "t0", bench.tasks.inputs("t0", "test"))


@pytest.mark.parametrize(
    "knobs", [{"keep": 0.0}, {"keep": 0.5, "active": 4}, {"keep": 0.5, "gate": 0}]
)
def test_smile_refuses_nonsense(bench, knobs):
    with pytest.raises(TadropError):
        built(bench, tiny.stream(bench), **knobs)
