"""Synthetic checkpoints that the merges are timed on,
and the floor they are held to.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

WEIGHTS = "model.safetensors"
BUFFER = 8 << 20  # bytes

Shapes = Mapping[str, tuple[int, ...]]


def vision_tower(
    width: int,
    layers: int,
    patch: int,
    tokens: int,
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a CLIP vision tower as transformers stores it."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (width,),
        "embeddings.patch_embedding.weight": (width, 3, patch, patch),
        "embeddings.position_embedding.weight": (tokens, width),
    }
    for number in range(layers):
        layer = f"encoder.layers.{number}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{layer}.self_attn.{projection}", width, width)
        shapes |= _linear(f"{layer}.mlp.fc1", 4 * width, width)
        shapes |= _linear(f"{layer}.mlp.fc2", width, 4 * width)
        shapes |= _norm(f"{layer}.layer_norm1", width)
        shapes |= _norm(f"{layer}.layer_norm2", width)
    # The first name is misspelled in CLIP's own checkpoints.
    return shapes | _norm("pre_layrnorm", width) | _norm("post_layernorm", width)


def _linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


VIT_B32 = vision_tower(768, 12, 32, 50)
VIT_L14 = vision_tower(1024, 24, 14, 257)


@dataclass(frozen=True)
class Inputs:
    """A base and experts on disk; some experts may be links to the same file."""

    base: Path
    experts: tuple[Path, ...]

    def overrides(self, out: Path) -> list[str]:
        """The words of the command line that merge these files into a folder."""
        experts = ",".join(map(str, self.experts))
        return [
            "model=local",
            f"model.base={self.base}",
            f"model.experts=[{experts}]",
            "evaluate=false",
            f"export.dir={out}",
        ]


def make(folder: Path, shapes: Shapes, experts: int, distinct: int) -> Inputs:
    """Writes a base of normal weights, and experts a small step away from it.

    Only the first `distinct` experts are files of their own; the others are hard links.
    """
    import torch

    from tadrop.storage.files import write_tensors

    maker = torch.Generator().manual_seed(0)

    def draw(scale: float) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = {}
        for name, shape in shapes.items():
            state[name] = torch.randn(shape, generator=maker) * scale
        return state

    base = draw(0.02)
    metadata = {"format": "pt"}
    write_tensors(folder / "base" / WEIGHTS, base, metadata)
    paths: list[Path] = []
    for number in range(experts):
        path = folder / f"expert{number:02}"
        paths.append(path)
        if number < distinct:
            state = draw(0.001)
            for name, tensor in state.items():
                tensor += base[name]
            write_tensors(path / WEIGHTS, state, metadata)
        else:
            path.mkdir()
            os.link(paths[number % distinct] / WEIGHTS, path / WEIGHTS)
    return Inputs(folder / "base", tuple(paths))


def floor_of(inputs: Inputs, folder: Path, times: int = 5) -> float:
    """The median seconds of so many copies.

    One copy before them brings the files into the page cache, and earlier writes are
    brought to disk.
    """
    copy_floor(inputs, folder / "copy")
    os.sync()
    return median(copy_floor(inputs, folder / "copy") for _ in range(times))


def copy_floor(inputs: Inputs, out: Path) -> float:
    """Seconds to read every input file once and write one of them.

    No merge can take less.
    """
    buffer = memoryview(bytearray(BUFFER))
    start = time.perf_counter()
    for folder in inputs.experts:
        with (folder / WEIGHTS).open("rb", buffering=0) as source:
            while source.readinto(buffer):
                pass
    base = inputs.base / WEIGHTS
    with base.open("rb", buffering=0) as source, out.open("wb", buffering=0) as target:
        while count := source.readinto(buffer):
            target.write(buffer[:count])
    seconds = time.perf_counter() - start
    out.unlink()
    return seconds
