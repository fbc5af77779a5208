"""Batches of whatever a model is shown."""

from dataclasses import dataclass

import torch

from tadrop.modules import batches as batching


def test_batches_may_be_made_of_several_tensors():
    @dataclass(frozen=True)
    class Both:
        image: torch.Tensor
        ids: torch.Tensor | None = None

    made = [
        Both(torch.arange(3.0) + 10 * i, torch.full((3, 2 + i), i)) for i in range(2)
    ]
    whole = batching.join(made)
    assert batching.count(whole) == 6
    assert whole.ids.tolist()[0] == [0, 0, -1]
    parts = list(batching.split(whole, 4))
    assert [batching.count(part) for part in parts] == [4, 2]
    assert batching.take(whole, torch.tensor([5, 0])).image.tolist() == [12.0, 0.0]
    assert batching.join([Both(torch.ones(1)), Both(torch.ones(2))]).ids is None
    as_mapping = batching.take({"pixels": torch.eye(3), "ids": made[0].ids}, slice(1))
    assert {name: len(tensor) for name, tensor in as_mapping.items()} == {
        "pixels": 1,
        "ids": 1,
    }
