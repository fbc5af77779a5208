"""The router of Twin-Merging (arXiv 2406.15479): which task a feature belongs to.

It is a small network on the shared model's mean features, trained on
training inputs whose task is known. See baselines/twin.py for the
method.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tadrop.numerics.seeds import generator


def _hidden(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """One hidden layer, with batch norm and dropout 0.5."""
    linear, norm = nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)
    return linear, norm, nn.ReLU(), nn.Dropout(0.5)


def make(width: int, tasks: int) -> nn.Sequential:
    """width -> 2 width -> 2 width -> tasks."""
    inner = 2 * width
    first, second = _hidden(width, inner), _hidden(inner, inner)
    return nn.Sequential(*first, *second, nn.Linear(inner, tasks))


def train(
    features: Tensor,
    labels: Tensor,
    tasks: int,
    epochs: int,
    rate: float,
    size: int,
    seed: int,
) -> nn.Module:
    """Learns the task of a feature [example, width] by cross-entropy with Adam.

    size: features in a step
    The same seed gives the same bits.
    """
    rng = generator("twin", "router", seed)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(int(rng.integers(2**31)))
        router = make(features.shape[1], tasks).to(features.device).train()
        optimizer = torch.optim.Adam(router.parameters(), rate)
        for _ in range(epochs):
            order = torch.from_numpy(rng.permutation(len(features)))
            for batch in order.to(features.device).split(size):
                if len(batch) < 2:  # batch norm needs two
                    continue
                loss = F.cross_entropy(router(features[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return router.eval().requires_grad_(False)
