"""Small real checkpoints on disk, in every form of file that the suite reads."""

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
    """Normal tensors of these shapes."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in (SHAPES if shapes is None else shapes).items():
        values = torch.randn(shape, generator=generator) * scale
        tensors[name] = values.to(dtype)
    return tensors


def moved(base, seed, dtype, shapes):
    """The base with a little noise on every tensor but the integers."""
    noise = weights(seed, 0.01, shapes=shapes)
    tensors = {}
    for name, tensor in base.items():
        if name in noise:
            tensor = (tensor.float() + noise[name]).to(dtype)
        tensors[name] = tensor
    return tensors


def family(folder, tasks=3, dtype=torch.float32, form="single", shapes=None):
    """A base and experts as folders.

    Returns the base's folder, the experts' folders, and the tensors of both.
    """
    base = weights(0, 1.0, dtype, shapes)
    base["steps"] = torch.arange(5)
    experts, paths = [], []
    for seed, name in enumerate("abcdefgh"[:tasks], start=1):
        experts.append(moved(base, seed, dtype, shapes))
        paths.append(folder / name)
        save(paths[-1], experts[-1], form)
    save(folder / "base", base, form)
    return folder / "base", paths, base, experts


def save(folder, state, form="single"):
    """Writes tensors into a new folder. form: single, sharded or torch."""
    folder.mkdir(parents=True)
    if form == "single":
        save_file(state, folder / "model.safetensors", {"format": "pt"})
    elif form == "torch":
        torch.save(state, folder / "pytorch_model.bin")
    elif form == "sharded":
        save_shards(folder, state)


def save_shards(folder, state):
    """Two files and the index that says which tensor is in which."""
    names = sorted(state)
    index = {}
    for number in (1, 2):
        file = f"model-{number}.safetensors"
        shard = {name: state[name] for name in names[number - 1 :: 2]}
        save_file(shard, folder / file)
        index |= dict.fromkeys(shard, file)
    text = json.dumps({"weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)


def opened(base, experts, private=()):
    """The task vectors of a base's and experts' folders; folders name the tasks."""
    checkpoints = {path.name: open_checkpoint(path) for path in experts}
    return TaskVectors(open_checkpoint(base), checkpoints, private)
