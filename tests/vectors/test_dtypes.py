"""Dtypes that are no numbers to merge are refused by name, before any work."""

import pytest
import torch
from safetensors.torch import save_file

from tadrop.types import TadropError
from tests.checkpoints import opened

REFUSED = (
    *(torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.uint16, torch.uint32, torch.uint64, torch.complex64),
)


def folder(path, tensors):
    path.mkdir()
    save_file(tensors, path / "model.safetensors")
    return path


@pytest.mark.parametrize("dtype", REFUSED)
def test_a_base_of_a_dtype_that_is_not_merged(tmp_path, dtype):
    tensors = {"w": torch.ones(4), "packed": torch.zeros(4, dtype=dtype)}
    base, expert = folder(tmp_path / "base", tensors), folder(tmp_path / "a", tensors)
    message = rf"base: tensor 'packed' is {dtype}, which is not merged; .*dequantised"
    with pytest.raises(TadropError, match=message):
        opened(base, [expert])


def test_an_expert_of_a_dtype_that_is_not_merged(tmp_path):
    base = folder(tmp_path / "base", {"w": torch.ones(4)})
    expert = folder(tmp_path / "a", {"w": torch.ones(4).to(torch.float8_e4m3fn)})
    with pytest.raises(TadropError, match=r"a: tensor 'w' is torch\.float8_e4m3fn"):
        opened(base, [expert])
