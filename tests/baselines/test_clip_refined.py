"""AdaMerging, Surgery, SMILE and Twin-Merging on CLIP, against transformers' own CLIP."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from baselines import adamerging, smile, surgery, twin
from tadrop.models.clip.model import HEAD
from tests import tiny_clip as tiny
from tests.baselines.clip_reference import (
    BOTH,
    PAIRS,
    SEEDS,
    Reference,
    as_split,
    close,
    images_of,
    individual,
    made,
    reference_of,
)
from tests.baselines.refining import outputs, put, refine, summed, untouched

FEW_STEPS = {"wise": "task", "split": "test", "seed": 0, "size": 8}


def experts_of(model, stream):
    """The base's and the tasks' vision tensors, made by hand."""
    state = tiny.vision_state(model)
    return state, [tiny.moved(state, SEEDS[task]) for task in stream.tasks]


# --- AdaMerging


def columns_of(stream, packaging):
    """Which tensor of the stream each of transformers' tensors lies in."""
    columns = {}
    for pair in PAIRS:
        for name in pair.names(packaging):
            parts = pair.split if name == pair.fused else (name,)
            columns |= dict.fromkeys(parts, stream.names.index(name))
    return columns


def weighted_by_hand(model, stream, packaging, coefficients):
    """transformers' weights as a function of the coefficients [task, tensor]."""
    columns = columns_of(stream, packaging)
    state, experts = experts_of(model, stream)
    weights = {}
    for name, theta0 in state.items():
        weight = theta0
        for row, expert in zip(coefficients, experts, strict=True):
            weight = weight + row[columns[name]] * (expert[name] - theta0)
        weights[f"clip.{name}"] = weight
    return weights


@pytest.mark.parametrize("packaging", BOTH)
def test_the_gradient_by_the_coefficients(clip_model, clip_hub, tmp_path, packaging):
    """Straight from the definition, with autograd through all of it."""
    bench, stream = made(clip_hub, tmp_path, packaging)
    batches = {task: images_of(bench, task, "test") for task in stream.tasks}
    at = 0.3 + 0.1 * torch.rand(3, len(stream.names))
    plain = adamerging.plain(stream)
    deltas = adamerging.weighted(stream, plain, at)
    bench.load((name, bench.theta0(name) + delta) for name, delta in deltas)
    gradients = adamerging.weight_gradients(bench, stream.names, batches)
    slopes = adamerging.slopes(stream, plain, gradients)

    at.requires_grad_()
    weights = weighted_by_hand(clip_model, stream, packaging, at)
    reference, total = Reference(clip_model, None), 0.0
    for task, images in batches.items():
        reference.head = bench.experts[task][HEAD]
        p = functional_call(reference, weights, (images,)).softmax(-1)
        total = total - (p * p.log()).sum(-1).mean()
    total.backward()
    close(slopes, at.grad, 5e-3)


def adapted(bench, stream, **knobs):
    """The base, adapted task-wise."""
    knobs = FEW_STEPS | knobs
    return refine(adamerging.adapt, untouched(stream), stream, bench, **knobs)


def test_task_wise_adaptation_is_the_same_in_both_packagings(clip_hub, tmp_path):
    deltas = {}
    for packaging in BOTH:
        bench, stream = made(clip_hub, tmp_path, packaging)
        merged = adapted(bench, stream, steps=3, rate=0.05)
        tensors = {name: merged.delta("mnist", name) for name in stream.names}
        deltas[packaging] = as_split(tensors, packaging)
    for name, delta in deltas["split"].items():
        torch.testing.assert_close(deltas["fused"][name], delta, rtol=1e-4, atol=1e-6)


def test_text_tensors_that_nothing_reads_leave_adaptation_alone(clip_hub, tmp_path):
    name = "visual.transformer.resblocks.1.attn.in_proj_weight"
    deltas = []
    for leftovers in ("false", "true"):
        word = f"model.leftovers={leftovers}"
        bench, stream = made(clip_hub, tmp_path, "fused", word)
        deltas.append(adapted(bench, stream, steps=2).delta("mnist", name))
    torch.testing.assert_close(*deltas)


# --- Surgery


@pytest.mark.parametrize("packaging", BOTH)
def test_surgery_reads_the_image_features(clip_model, clip_hub, tmp_path, packaging):
    """They are not normalised, as the image encoder gives them in the authors' code."""
    bench, _ = made(clip_hub, tmp_path, packaging)
    _, reference = individual(bench, clip_model, "mnist")
    images = torch.cat([x for x, _ in bench.tasks.batches("mnist", "test")])
    close(bench.features("mnist", "test"), reference.features(images))


def test_surgery_corrects_what_the_head_reads(clip_hub, tmp_path):
    knobs = {"split": "test", "seed": 0, "rank": 4, "steps": 20}
    answers = []
    for packaging in BOTH:
        bench, stream = made(clip_hub, tmp_path, packaging)
        merged = refine(surgery.adapt, summed(stream), stream, bench, 0.3, **knobs)
        put(bench, merged, "mnist", 0.3)
        bench.equip("mnist")
        images = images_of(bench, "mnist", "test")
        with torch.inference_mode():
            z, head = bench.module.features(images), bench.experts["mnist"][HEAD]
            down, up = merged.attachment.weights["mnist"]
            corrected = z - torch.relu(z @ down.T) @ up.T
            expected = 100 * F.normalize(corrected, dim=-1) @ head.T
            with merged.attached(bench.module, "mnist"):
                answers.append(bench.module(images))
        torch.testing.assert_close(answers[-1], expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(*answers, rtol=1e-3, atol=1e-2)


# --- SMILE


def add_experts(reference, experts):
    """Hooks on transformers' own layers that add what the experts add."""

    def adding(layer):
        return lambda module, args, output: output + layer.delta(args[0], 1)

    for name, layer in experts.layers.items():
        module = reference.clip.get_submodule(name.removesuffix(".weight"))
        module.register_forward_hook(adding(layer))


def test_smile_routes_every_projection(clip_model, clip_hub, tmp_path):
    """Split q, k and v are routed each for itself."""
    bench, stream = made(clip_hub, tmp_path, "split")
    merged = refine(smile.build, untouched(stream), stream, bench, keep=0.25)
    assert len(merged.attachment.layers) == 12
    reference = reference_of(bench, clip_model, "eurosat")
    add_experts(reference, merged.attachment)
    images = images_of(bench, "eurosat")
    answers = outputs(bench, merged, "eurosat", images)
    with torch.inference_mode():
        expected = reference(images)
    torch.testing.assert_close(answers, expected, rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize(("packaging", "layers"), [("split", 12), ("fused", 8)])
def test_smile_of_full_rank_with_one_expert_is_the_dense_layers(
    clip_model, clip_hub, tmp_path, packaging, layers
):
    bench, stream = made(clip_hub, tmp_path, packaging, "tasks.names=[mnist]")
    merged = refine(smile.build, untouched(stream), stream, bench, keep=1.0)
    assert len(merged.attachment.layers) == layers
    reference = reference_of(bench, clip_model, "mnist")
    dense = {}  # all else stays pretrained
    moved = tiny.moved(tiny.vision_state(clip_model), SEEDS["mnist"])
    for name, tensor in moved.items():
        if "self_attn" in name or "mlp" in name:
            dense[name] = tensor
    reference.clip.load_state_dict(dense, strict=False)
    images = images_of(bench, "mnist")
    answers = outputs(bench, merged, "mnist", images)
    with torch.inference_mode():
        expected = reference(images)
    torch.testing.assert_close(answers, expected, rtol=1e-3, atol=5e-3)


# --- Twin-Merging


class Fixed(nn.Module):
    """A router that gives every input a mixture of its own."""

    def forward(self, features):
        index = torch.arange(len(features), dtype=torch.float32)
        return torch.stack([index % 2, index % 3, -index % 2], 1)


@pytest.mark.parametrize("packaging", BOTH)
def test_twin_runs_every_input_on_its_own_weights(
    clip_model, clip_hub, tmp_path, packaging
):
    bench, stream = made(clip_hub, tmp_path, packaging)
    knobs = {"split": "train", "seed": 0, "epochs": 1, "size": 16, "keep": 1.0}
    knobs["biases"] = "merged"
    merged = refine(twin.build, summed(stream), stream, bench, 0.3, **knobs)
    merged = replace(merged, attachment=replace(merged.attachment, router=Fixed()))
    images = images_of(bench, "mnist", "test", 6)
    answers = outputs(bench, merged, "mnist", images, 0.3)
    reference = reference_of(bench, clip_model, "mnist")
    state, experts = experts_of(clip_model, stream)
    mixes = Fixed()(images).softmax(-1)
    for image, mix, answer in zip(images, mixes, answers, strict=True):
        own = {}
        for name, theta0 in state.items():
            shared = theta0 + 0.3 * sum(expert[name] - theta0 for expert in experts)
            exclusive = torch.stack([expert[name] - shared for expert in experts])
            own[name] = shared + torch.tensordot(mix, exclusive, dims=1)
        reference.clip.load_state_dict(own, strict=False)
        expected = reference(image[None])[0]
        torch.testing.assert_close(answer, expected, rtol=1e-3, atol=5e-3)
