"""Safetensors files written piece by piece are what safetensors itself reads."""

import torch
from safetensors.torch import load_file

from tadrop.storage.checkpoint_writer import Form, TensorFile, shard_names


def test_tensor_file_is_what_safetensors_writes(tmp_path):
    tensors = {
        "a": torch.randn(7, 3),
        "b": torch.arange(4),
        "c": torch.tensor(2.5).bfloat16(),
        "d": torch.empty(0, 3),
    }
    forms = {name: Form(t.dtype, tuple(t.shape)) for name, t in tensors.items()}
    with TensorFile(tmp_path / "x.safetensors", forms, {"k": "v"}) as file:
        for name, tensor in reversed(tensors.items()):
            flat = tensor.reshape(-1)
            for start in range(0, len(flat), 5):
                file.write(name, start, flat[start : start + 5])
    again = load_file(tmp_path / "x.safetensors")
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(again[name], tensor)
        assert again[name].dtype == tensor.dtype


def test_shards_are_filled_in_order_and_wide_dtypes_come_first():
    forms = {
        "half": Form(torch.float16, (10,)),
        "b": Form(torch.float32, (10,)),
        "a": Form(torch.float32, (10,)),
        "large": Form(torch.float32, (100,)),
    }
    assert shard_names(forms, 1000) == [["a", "b", "large", "half"]]
    assert shard_names(forms, 100) == [["a", "b"], ["large"], ["half"]]
