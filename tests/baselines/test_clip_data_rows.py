"""The rows that look at data, on CLIP in both layouts, against transformers' own CLIP, which has q,
k and v apart.

Nothing on the reference's side goes through the code under test: forward passes, gradients and
hooks are those of transformers' modules, with weights made by hand.
"""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from baselines import (
    adamerging,
    fisher,
    reference,
    regmean,
    smile,
    surgery,
    task_arithmetic,
    twin,
)
from tadrop.app.runs import run as runner
from tadrop.evaluation.bench import set_up
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.models.clip.model import HEAD
from tadrop.models.clip.names import vision_pairs
from tadrop.models.matrices import matrix_layouts
from tadrop.models.weights import install
from tadrop.vectors.merged import materialise
from tadrop.vectors.task_vectors import TaskVectors
from tests import tiny_clip as tiny
from tests.baselines.test_data_rows import ROWS
from tests.models.test_clip import configured, opened

BOTH = ("split", "fused")
CPU = torch.device("cpu")
PAIRS = vision_pairs(2, projection=True)
SEEDS = {
    task: seed for seed, task in enumerate(tiny.TASKS, start=1)
}  # of tiny.write_experts


@pytest.fixture(params=BOTH)
def packaging(request):
    return request.param


def made(hub, tmp_path, packaging, *words):
    """(bench, stream) of the three experts whose files carry a projection."""
    backbone = opened(
        hub, tmp_path, f"model.packaging={packaging}", "model.source=tall_masks", *words
    )
    base, experts = (
        backbone.open_base(),
        {task: backbone.open_expert(task) for task in backbone.tasks.names},
    )
    stream = TaskVectors(base, experts, tuple(backbone.private), CPU)
    stream = replace(
        stream, matrix_layouts=matrix_layouts(backbone.name, backbone.matrices, stream.shapes)
    )
    return set_up(backbone, base, experts, backbone.tasks, CPU), stream


def images_of(bench, task, split="train", count=5):
    return next(iter(bench.tasks.batches(task, split)))[0][:count]


class Reference(nn.Module):
    """transformers' CLIP as a zero-shot classifier of uint8 images, with a task's weights, or the
    base's.
    """

    def __init__(self, model, head, seed=None):
        super().__init__()
        self.clip = tiny.hf_clip()
        self.clip.load_state_dict(model.state_dict())
        self.head = head
        if seed is not None:
            self.clip.load_state_dict(
                tiny.moved(tiny.vision_state(model), seed), strict=False
            )
        self.requires_grad_(False)

    def features(self, images):
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (tiny_mean(), tiny_std()))
        found = self.clip.get_image_features(
            pixel_values=(images.permute(0, 3, 1, 2) / 255 - mean) / std
        )
        return getattr(found, "pooler_output", found)

    def forward(self, images):
        return 100 * F.normalize(self.features(images), dim=-1) @ self.head.T


def tiny_mean():
    return 0.48145466, 0.4578275, 0.40821073


def tiny_std():
    return 0.26862954, 0.26130258, 0.27577711


def individual(bench, model, task):
    """A task's own model: ours with its weights in place, and the reference."""
    bench.load(bench.expert(task, bench.base.tensors))
    bench.equip(task)
    return bench.module, Reference(model, bench.experts[task][HEAD], SEEDS[task])


def as_split(found, packaging):
    """Tensors by split names, whatever the packaging."""
    if packaging == "split":
        return dict(found)
    out = {}
    for pair in PAIRS:
        if pair.fused in found:
            parts = found[pair.fused].chunk(len(pair.split))
            out |= dict(zip(pair.split, parts, strict=True))
    if "visual_projection.weight" in out:
        out["visual_projection.weight"] = out["visual_projection.weight"].T
    return out


def close(found, expected, rtol=2e-3):
    """Equal up to the two libraries' rounding, by each tensor's largest entry."""
    assert (
        float((found - expected).abs().max())
        <= rtol * float(expected.abs().max()) + 1e-12
    )


# --- Fisher


def test_exact_fisher(clip_model, clip_hub, tmp_path, packaging):
    bench, stream = made(clip_hub, tmp_path, packaging)
    module, ours = individual(bench, clip_model, "fer2013")
    images = images_of(bench, "fer2013", count=2)
    found = as_split(
        fisher.exact(module, iter([images]), bench.slots(stream.names)), packaging
    )
    leaves = dict(ours.clip.requires_grad_().named_parameters())
    expected = dict.fromkeys(leaves, 0)
    for image in images:
        log_p = ours(image[None]).log_softmax(-1)[0]
        for one in log_p:
            for name, grad in zip(
                leaves, torch.autograd.grad(one, leaves.values(), **KEEP), strict=True
            ):
                expected[name] = expected[name] + (
                    0 if grad is None else one.exp().detach() * grad**2 / len(images)
                )
    assert len(found) == 40
    assert all(
        float(found[f"vision_model.encoder.layers.0.self_attn.{p}_proj.weight"].max())
        > 0
        for p in "qkv"
    )
    for name, diagonal in found.items():
        close(diagonal, expected[name])


KEEP = {"retain_graph": True, "allow_unused": True}


def test_batch_squared_fisher_is_the_same_in_both_layouts(
    clip_model, clip_hub, tmp_path
):
    found = {}
    for packaging in BOTH:
        bench, stream = made(clip_hub, tmp_path, packaging)
        module, _ = individual(bench, clip_model, "eurosat")
        batches = iter([images_of(bench, "eurosat")])
        found[packaging] = as_split(
            fisher.batch_squared(module, batches, bench.slots(stream.names)), packaging
        )
    assert found["split"].keys() == found["fused"].keys()
    for name, diagonal in found["split"].items():
        close(found["fused"][name], diagonal, 1e-5)


# --- RegMean


def test_gram_matrices(clip_model, clip_hub, tmp_path, packaging):
    bench, stream = made(clip_hub, tmp_path, packaging)
    module, ours = individual(bench, clip_model, "mnist")
    images = images_of(bench, "mnist")
    grams = regmean.gram(module, iter(images.split(2)), bench.slots(stream.names))
    seen = {}
    for name, layer in ours.clip.vision_model.named_modules():
        if isinstance(layer, nn.Linear):
            weight = f"vision_model.{name}.weight"
            layer.register_forward_pre_hook(
                lambda _, args, weight=weight: seen.update({weight: args[0]})
            )
    ours(images)
    names = {name: pair.names(packaging)[0] for pair in PAIRS for name in pair.split}
    names |= {name: name for name in seen} if packaging == "split" else {}
    assert set(grams) == {names[name] for name in seen}
    for name, x in seen.items():
        x = x.reshape(-1, x.shape[-1])
        close(grams[names[name]], x.T @ x / len(images))


# --- AdaMerging


def test_the_gradient_by_the_coefficients(clip_model, clip_hub, tmp_path, packaging):
    """Straight from the definition: weights as a function of the coefficients, and autograd through
    all of it.
    """
    bench, stream = made(clip_hub, tmp_path, packaging)
    batches = {task: images_of(bench, task, "test") for task in stream.tasks}
    at = torch.full((3, len(stream.names)), 0.3) + 0.1 * torch.rand(
        3, len(stream.names)
    )
    plain = adamerging.plain(stream)
    bench.load(
        (n, bench.theta0(n) + d) for n, d in adamerging.weighted(stream, plain, at)
    )
    found = adamerging.slopes(
        stream, plain, adamerging.weight_gradients(bench, stream.names, batches)
    )

    at.requires_grad_()
    base = Reference(clip_model, None)
    columns = {
        name: stream.names.index(n)
        for pair in PAIRS
        for n in pair.names(packaging)
        for name in of(pair, n)
    }
    state, total = tiny.vision_state(clip_model), 0
    experts = [tiny.moved(state, SEEDS[task]) for task in stream.tasks]
    weights = {
        f"clip.{n}": t
        + sum(at[i, columns[n]] * (e[n] - t) for i, e in enumerate(experts))
        for n, t in state.items()
    }
    for task, images in batches.items():
        base.head = bench.experts[task][HEAD]
        p = functional_call(base, weights, (images,)).softmax(-1)
        total = total - (p * p.log()).sum(-1).mean()
    total.backward()
    close(found, at.grad, 5e-3)


def of(pair, name):
    return pair.split if name == pair.fused else (name,)


def refined(build, stream, bench, formula, scale=1.0, **knobs):
    return build(
        merge(stream, Method(formula)), stream, bench, scale, lambda: None, **knobs
    )


def test_task_wise_adaptation_is_the_same_in_both_layouts(clip_hub, tmp_path):
    found = {}
    for packaging in BOTH:
        bench, stream = made(clip_hub, tmp_path, packaging)
        knobs = {
            "wise": "task",
            "split": "test",
            "seed": 0,
            "steps": 3,
            "size": 8,
            "rate": 0.05,
        }
        merged = refined(adamerging.adapt, stream, bench, reference.pretrained, **knobs)
        found[packaging] = as_split(
            {n: merged.delta("mnist", n) for n in stream.names}, packaging
        )
    for name, delta in found["split"].items():
        torch.testing.assert_close(found["fused"][name], delta, rtol=1e-4, atol=1e-6)


def test_text_tensors_that_nothing_reads_leave_adaptation_alone(clip_hub, tmp_path):
    found = []
    for leftovers in ("false", "true"):
        bench, stream = made(
            clip_hub, tmp_path, "fused", f"model.leftovers={leftovers}"
        )
        knobs = {"wise": "task", "split": "test", "seed": 0, "steps": 2, "size": 8}
        found.append(
            refined(adamerging.adapt, stream, bench, reference.pretrained, **knobs)
        )
    name = "visual.transformer.resblocks.1.attn.in_proj_weight"
    torch.testing.assert_close(
        found[0].delta("mnist", name), found[1].delta("mnist", name)
    )


# --- Surgery


def test_surgery_reads_the_image_features(clip_model, clip_hub, tmp_path, packaging):
    """Before they are normalised: what the image encoder gives in the authors' code."""
    bench, _ = made(clip_hub, tmp_path, packaging)
    _, ours = individual(bench, clip_model, "mnist")
    images = torch.cat([x for x, _ in bench.tasks.batches("mnist", "test")])
    close(bench.features("mnist", "test"), ours.features(images))


def test_surgery_corrects_what_the_head_reads(clip_hub, tmp_path):
    found = []
    for packaging in BOTH:
        bench, stream = made(clip_hub, tmp_path, packaging)
        knobs = {"split": "test", "seed": 0, "rank": 4, "steps": 20}
        merged = refined(
            surgery.adapt, stream, bench, task_arithmetic.merge, 0.3, **knobs
        )
        install(
            bench.model.slots(bench.module),
            materialise(bench.base, merged, "mnist", 0.3),
        )
        bench.equip("mnist")
        images = images_of(bench, "mnist", "test")
        with torch.inference_mode():
            z, head = bench.module.features(images), bench.experts["mnist"][HEAD]
            down, up = merged.attachment.weights["mnist"]
            expected = (
                100 * F.normalize(z - torch.relu(z @ down.T) @ up.T, dim=-1) @ head.T
            )
            with merged.attached(bench.module, "mnist"):
                found.append(bench.module(images))
        torch.testing.assert_close(found[-1], expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-2)


# --- SMILE


def test_smile_routes_every_projection(clip_model, clip_hub, tmp_path):
    """Split: hooks on transformers' own layers add what the experts add. q, k and v are routed each
    for itself.
    """
    bench, stream = made(clip_hub, tmp_path, "split")
    merged = refined(smile.build, stream, bench, reference.pretrained, keep=0.25)
    assert len(merged.attachment.layers) == 12
    ours = Reference(clip_model, bench.experts["eurosat"][HEAD])
    for name, layer in merged.attachment.layers.items():
        module = ours.clip.get_submodule(name.removesuffix(".weight"))
        module.register_forward_hook(
            lambda _, args, out, layer=layer: out + layer.delta(args[0], 1)
        )
    images = images_of(bench, "eurosat")
    install(
        bench.model.slots(bench.module),
        materialise(bench.base, merged, "eurosat", 1.0),
    )
    bench.equip("eurosat")
    with torch.inference_mode(), merged.attached(bench.module, "eurosat"):
        torch.testing.assert_close(
            bench.module(images), ours(images), rtol=1e-3, atol=5e-3
        )


def test_smile_of_full_rank_with_one_expert_is_the_dense_layers(
    clip_model, clip_hub, tmp_path, packaging
):
    bench, stream = made(clip_hub, tmp_path, packaging, "tasks.names=[mnist]")
    merged = refined(smile.build, stream, bench, reference.pretrained, keep=1.0)
    assert len(merged.attachment.layers) == {"split": 12, "fused": 8}[packaging]
    ours = Reference(clip_model, bench.experts["mnist"][HEAD])
    moved = tiny.moved(tiny.vision_state(clip_model), SEEDS["mnist"])
    dense = {
        n: t for n, t in moved.items() if "self_attn" in n or "mlp" in n
    }  # all else stays pretrained
    ours.clip.load_state_dict(dense, strict=False)
    images = images_of(bench, "mnist")
    bench.equip("mnist")
    with torch.inference_mode(), merged.attached(bench.module, "mnist"):
        torch.testing.assert_close(
            bench.module(images), ours(images), rtol=1e-3, atol=5e-3
        )


# --- Twin-Merging


class Fixed(nn.Module):
    """A router that gives every input a mixture of its own."""

    def forward(self, features):
        at = torch.arange(len(features), dtype=torch.float32)
        return torch.stack([at % 2, at % 3, -at % 2], 1)


def test_twin_runs_every_input_on_its_own_weights(
    clip_model, clip_hub, tmp_path, packaging
):
    bench, stream = made(clip_hub, tmp_path, packaging)
    knobs = {"split": "train", "seed": 0, "epochs": 1, "size": 16, "keep": 1.0}
    merged = refined(twin.build, stream, bench, task_arithmetic.merge, 0.3, **knobs)
    merged = replace(merged, attachment=replace(merged.attachment, router=Fixed()))
    install(
        bench.model.slots(bench.module),
        materialise(bench.base, merged, "mnist", 0.3),
    )
    bench.equip("mnist")
    images = images_of(bench, "mnist", "test", 6)
    with torch.inference_mode(), merged.attached(bench.module, "mnist"):
        found = bench.module(images)
    state, ours = (
        tiny.vision_state(clip_model),
        Reference(clip_model, bench.experts["mnist"][HEAD]),
    )
    experts = [tiny.moved(state, SEEDS[task]) for task in stream.tasks]
    shared = {n: t + 0.3 * sum(e[n] - t for e in experts) for n, t in state.items()}
    for image, mix, row in zip(images, Fixed()(images).softmax(-1), found, strict=True):
        own = {
            n: t + sum(w * (e[n] - t) for w, e in zip(mix, experts, strict=True))
            for n, t in shared.items()
        }
        ours.clip.load_state_dict(own, strict=False)
        torch.testing.assert_close(row, ours(image[None])[0], rtol=1e-3, atol=5e-3)


# --- as a user runs them

SAME = (
    "fisher_batch",
    "regmean",
    "adamerging_task",
    "surgery",
)  # whose results do not depend on the packaging
FEW = [
    row if row in ("regmean", "twin") else pytest.param(row, marks=pytest.mark.slow)
    for row in ROWS
]


@pytest.mark.parametrize("row", FEW)
def test_rows_run(clip_hub, tmp_path, row):
    found = {}
    for packaging in BOTH:
        words = (
            f"model.packaging={packaging}",
            f"merge={row}",
            "tadrop=off",
            "limit=16",
            "tasks.names=[mnist,eurosat]",
        )
        record = runner.run(configured(clip_hub, tmp_path, *words, *ROWS[row]))
        assert record["stored_bytes"] > 0
        found[packaging] = json.dumps([score["value"] for score in record["scores"]])
    assert found["split"] == found["fused"] or row not in SAME
