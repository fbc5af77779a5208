"""SLERP: spherical interpolation of two models, tensor by tensor, as mergekit does it.

The weights' directions are turned into each other along the great
circle, while the coefficients apply to the weights themselves. Nearly
parallel tensors (|cos| > 0.9995) are interpolated linearly. Fine-tuned
models of one base are nearly always that close, so on weights this is
close to the average. `of: task_vectors` turns the task vectors instead.
It sees no data.

A tensor that is all zero in one model has no direction. It counts as
orthogonal to the other's, as in mergekit, so that half way the other is
multiplied by sin(pi / 4).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tadrop.types import Deltas, TadropError, Taus

PARALLEL = 0.9995  # cosines beyond which tensors are interpolated linearly
NO_DIRECTION = 1e-8  # norms up to which a tensor is not scaled to unit length


def _unit(vector: Tensor) -> Tensor:
    norm = vector.norm()
    return vector / norm if norm > NO_DIRECTION else vector


def coefficients(first: Tensor, second: Tensor, t: float) -> tuple[float, float]:
    """What the two tensors are multiplied with at t in [0, 1]."""
    a, b = first.double().flatten(), second.double().flatten()
    cos = float(_unit(a) @ _unit(b))
    if abs(cos) > PARALLEL:
        return 1 - t, t
    angle = torch.acos(torch.tensor(cos, dtype=torch.float64))
    of_first = torch.sin((1 - t) * angle) / torch.sin(angle)
    of_second = torch.sin(t * angle) / torch.sin(angle)
    return float(of_first), float(of_second)


def merge(
    taus: Taus,
    theta0: Tensor,
    order: Sequence[int] = (0, 1),
    t: float = 0.5,
    of: str = "weights",
) -> Deltas:
    """The interpolation as a delta of the base.

    order: which task is the first model, and which the second
    t:     0 is the first model, 1 the second
    of:    what is turned, weights or task_vectors
    """
    if len(taus) != 2:
        raise TadropError(
            f"slerp interpolates two models and got {len(taus)}; "
            "name two, e.g. 'tasks.names=[latin_upper,hebrew]'"
        )
    if of not in ("weights", "task_vectors"):
        raise TadropError(f"of is {of!r}; it must be weights or task_vectors")
    base = theta0 if of == "weights" else torch.zeros_like(theta0)
    first, second = taus[order[0]], taus[order[1]]
    a, b = coefficients(base + first, base + second, t)
    return (a * first + b * second + (a + b - 1) * base).unsqueeze(0)
