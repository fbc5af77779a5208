"""Small real checkpoints on disk, in every layout that the suite reads."""

import json

import torch
from safetensors.torch import save_file

from tadrop.storage.checkpoint import open_checkpoint
from tadrop.vectors.task_vectors import TaskVectors

SHAPES = {
    "block.weight": (40, 24),
    "block.bias": (40,),
    "norm.weight": (24,),
    "logit_scale": (),
    "big.weight": (300, 301),
}


def weights(seed, scale=1.0, dtype=torch.float32, shapes=None):
    generator = torch.Generator().manual_seed(seed)
    shapes = SHAPES if shapes is None else shapes
    return {
        n: (torch.randn(s, generator=generator) * scale).to(dtype)
        for n, s in shapes.items()
    }


def family(folder, tasks=3, dtype=torch.float32, layout="single", shapes=None):
    """A base and experts as folders; returns (base folder, expert folders, base
    tensors, experts' tensors).
    """
    base = weights(0, 1.0, dtype, shapes)
    base["steps"] = torch.arange(5)
    experts = [
        {
            n: t if n == "steps" else (t.float() + d.float()).to(dtype)
            for n, t, d in zipped(base, i, shapes)
        }
        for i in range(1, tasks + 1)
    ]
    paths = []
    for name, state in zip(
        ["base", *"abcdefgh"[:tasks]], [base, *experts], strict=True
    ):
        paths.append(folder / name)
        save(paths[-1], state, layout)
    return paths[0], paths[1:], base, experts


def zipped(base, seed, shapes):
    noise = weights(seed, 0.01, shapes=shapes)
    return [(n, t, noise.get(n, t)) for n, t in base.items()]


def save(folder, state, layout="single"):
    folder.mkdir(parents=True)
    if layout == "single":
        save_file(state, folder / "model.safetensors", {"format": "pt"})
    elif layout == "torch":
        torch.save(state, folder / "pytorch_model.bin")
    elif layout == "sharded":
        names = sorted(state)
        shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
        for file, some in shards.items():
            save_file({n: state[n] for n in some}, folder / file)
        index = {"weight_map": {n: file for file, some in shards.items() for n in some}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def opened(base, experts, private=()):
    """The task vectors of a base's and experts' folders; a task is named after its folder."""
    checkpoints = {path.name: open_checkpoint(path) for path in experts}
    return TaskVectors(open_checkpoint(base), checkpoints, private)
