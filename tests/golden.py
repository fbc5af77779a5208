"""Three task vectors of two tensors, and the streams the tests make of them.

The values expected of them in the tests were worked out independently in float64
(numpy), not by this code.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tadrop.storage.checkpoint import Checkpoint
from tadrop.vectors.task_vectors import TaskVectors

ROOT = Path(__file__).parents[1]

TAUS: dict[str, dict[str, Tensor]] = {
    "t1": {
        "A": torch.tensor([[4, -1, 0.5, 0], [-2, 3, 0.25, 1]]),
        "b": torch.tensor([0.1, -0.2]),
    },
    "t2": {
        "A": torch.tensor([[-1, -2, 1.5, 0], [3, -0.5, 0.75, -4]]),
        "b": torch.tensor([-0.3, 0.4]),
    },
    "t3": {
        "A": torch.tensor([[2, 0.5, -1, 0], [-1, 2.5, -0.25, 2]]),
        "b": torch.tensor([0.2, 0.1]),
    },
}


def stream_of(
    taus: Mapping[str, Mapping[str, Tensor]],
    theta0: Mapping[str, Tensor] | None = None,
    private: Sequence[str] = (),
) -> TaskVectors:
    """Task vectors in memory as a stream; theta0 is zero unless given."""
    first = next(iter(taus.values()))
    theta0 = theta0 or {name: torch.zeros_like(tau) for name, tau in first.items()}
    experts = {
        t: Checkpoint(Path(t), (), {n: theta0[n] + tau for n, tau in vs.items()})
        for t, vs in taus.items()
    }
    return TaskVectors(
        Checkpoint(Path("base"), (), dict(theta0)), experts, tuple(private)
    )


def golden(*tasks: str) -> TaskVectors:
    """The three task vectors, or some of them."""
    return stream_of({task: TAUS[task] for task in tasks or TAUS})


def flat(tensors: Mapping[str, Tensor]) -> Tensor:
    """A row-major, then b."""
    return torch.cat([tensors[name].reshape(-1) for name in ("A", "b")])
