"""What tests of formulas share: streams in memory, and a merged model as one row."""

from dataclasses import replace

import numpy as np
import torch

from baselines import average
from tadrop.merging.engine import merge
from tadrop.merging.method import Method
from tadrop.types import MatrixLayout
from tests.golden import golden

MATRIX = {"A": MatrixLayout("linear")}
SHAPES = {"A": (6, 5), "b": (7,), "c": (2, 3, 4)}


def delta(stream, method, task="t1"):
    """A task's merged delta, all tensors one after another."""
    merged = merge(stream, method)
    return torch.cat([merged.delta(task, name).reshape(-1) for name in stream.names])


def matrices(*tasks):
    """The golden stream, whose tensor A is a linear layer."""
    return replace(golden(*tasks), matrix_layouts=MATRIX)


def per_matrix(function, rest=average.merge, **words):
    """A method of scope matrix."""
    return Method(function, scope="matrix", rest=rest, **words)


def draw(tasks=4, seed=0, zeros=0.2, **shapes):
    """Random task vectors with exact zeros; a tensor b has repeated values too."""
    rng = np.random.default_rng(seed)
    taus = {}
    for t in range(tasks):
        tensors = {}
        for name, shape in (shapes or SHAPES).items():
            tensors[name] = rng.normal(size=shape) * (rng.random(shape) > zeros)
        if "b" in tensors:
            tensors["b"] = np.round(tensors["b"], 1)
        taus[f"t{t}"] = {n: torch.from_numpy(v).float() for n, v in tensors.items()}
    return taus


def table(taus):
    """All task vectors flattened, [T, d] float64."""
    vectors = []
    for tensors in taus.values():
        flat = [tensors[name].numpy().ravel() for name in sorted(tensors)]
        vectors.append(np.concatenate(flat))
    return np.stack(vectors).astype(float)


def expect(actual, expected, atol=1e-6):
    """Compares in float64."""
    expected = torch.as_tensor(expected).double()
    torch.testing.assert_close(actual.double(), expected, atol=atol, rtol=1e-5)
