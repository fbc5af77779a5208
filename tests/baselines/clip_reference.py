"""CLIP in both packagings, and transformers' own CLIP, which has q, k and v apart.

Nothing on the reference's side goes through the code under test: forward passes,
gradients and hooks are those of transformers' modules, with weights made by hand.
"""

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from tadrop.evaluation.bench import set_up
from tadrop.models.clip.model import HEAD
from tadrop.models.clip.names import vision_pairs
from tadrop.models.matrices import matrix_layouts
from tadrop.vectors.task_vectors import TaskVectors
from tests import tiny_clip as tiny
from tests.models.test_clip import opened

BOTH = ("split", "fused")
CPU = torch.device("cpu")
PAIRS = vision_pairs(2, projection=True)
# The seeds of tiny.write_experts.
SEEDS = {task: seed for seed, task in enumerate(tiny.TASKS, start=1)}
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


def made(hub, tmp_path, packaging, *words):
    """(bench, stream) of the three experts whose files carry a projection."""
    settings = (f"model.packaging={packaging}", "model.source=tall_masks", *words)
    model = opened(hub, tmp_path, *settings)
    base = model.open_base()
    experts = {task: model.open_expert(task) for task in model.tasks.names}
    stream = TaskVectors(base, experts, tuple(model.private), CPU)
    layouts = matrix_layouts(model.name, model.matrices, stream.shapes)
    bench = set_up(model, base, experts, model.tasks, CPU)
    return bench, replace(stream, matrix_layouts=layouts)


def images_of(bench, task, split="train", count=5):
    """The first images of a task."""
    inputs, _ = next(iter(bench.tasks.batches(task, split)))
    return inputs[:count]


class Reference(nn.Module):
    """transformers' CLIP as a zero-shot classifier of uint8 images.

    It has the base's weights, or those of the task with this seed.
    """

    def __init__(self, model, head, seed=None):
        super().__init__()
        self.clip = tiny.hf_clip()
        self.clip.load_state_dict(model.state_dict())
        self.head = head
        if seed is not None:
            moved = tiny.moved(tiny.vision_state(model), seed)
            self.clip.load_state_dict(moved, strict=False)
        self.requires_grad_(False)

    def features(self, images):
        pixels = (images.permute(0, 3, 1, 2) / 255 - MEAN) / STD
        features = self.clip.get_image_features(pixel_values=pixels)
        return getattr(features, "pooler_output", features)

    def forward(self, images):
        return 100 * F.normalize(self.features(images), dim=-1) @ self.head.T


def reference_of(bench, model, task, own=False):
    """The reference with a task's head, and the base's weights or the task's own."""
    seed = SEEDS[task] if own else None
    return Reference(model, bench.experts[task][HEAD], seed)


def individual(bench, model, task):
    """A task's own model: ours with its weights in place, and the reference."""
    bench.load(bench.expert(task, bench.base.tensors))
    bench.equip(task)
    return bench.module, reference_of(bench, model, task, own=True)


def as_split(tensors, packaging):
    """Tensors by split names, whatever the packaging."""
    if packaging == "split":
        return dict(tensors)
    split = {}
    for pair in PAIRS:
        if pair.fused in tensors:
            parts = tensors[pair.fused].chunk(len(pair.split))
            split |= dict(zip(pair.split, parts, strict=True))
    if "visual_projection.weight" in split:
        split["visual_projection.weight"] = split["visual_projection.weight"].T
    return split


def close(actual, expected, rtol=2e-3):
    """Equal up to the two libraries' rounding, by each tensor's largest entry."""
    distance = float((actual - expected).abs().max())
    assert distance <= rtol * float(expected.abs().max()) + 1e-12
