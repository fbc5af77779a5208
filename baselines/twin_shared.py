"""The shared model of Twin-Merging: its weights, and its features for the router."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from tadrop.protocols.streams import Stream
from tadrop.protocols.workbench import Workbench
from tadrop.vectors.merged import Merged


def is_bias(name: str) -> bool:
    """Whether the authors' pattern .*bias.* fits a tensor's name."""
    return "bias" in name


def without_biases(merged: Merged) -> Merged:
    """The shared model with the base's biases."""
    deltas = dict(merged.deltas)
    for name, delta in merged.deltas.items():
        if is_bias(name):
            deltas[name] = torch.zeros_like(delta)
    return replace(merged, deltas=deltas)


def weights(
    merged: Merged,
    stream: Stream,
    bench: Workbench,
    scale: float,
) -> Iterator[tuple[str, Tensor]]:
    """The shared model's weights, one tensor at a time."""
    for name in stream.names:
        delta = merged.delta(stream.tasks[0], name)
        yield name, bench.theta0(name) + scale * delta


def labelled_features(
    stream: Stream,
    bench: Workbench,
    split: str,
    examples: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Features of every task's inputs, and the index of the task of each."""
    features, labels = [], []
    for index, task in enumerate(stream.tasks):
        features.append(bench.features(task, split, examples, "twin", seed))
        labels += [index] * len(features[-1])
    return torch.cat(features), torch.tensor(labels, device=bench.device)
