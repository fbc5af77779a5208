"""Tensors that are not merged: carried bit for bit where they are a task's own, and
refused by name in a base.
"""

import pytest
import torch
from safetensors.torch import load_file, save_file

from baselines import task_arithmetic
from tadrop import merge_checkpoints
from tadrop.merging.export import export
from tadrop.merging.method import Method
from tadrop.merging.source import Plan, streamed
from tadrop.storage.checkpoint_writer import form_of
from tadrop.types import TadropError
from tests.checkpoints import opened, save

CARRIED = ("float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64", "complex64")


def odd(word):
    dtype = getattr(torch, word)
    return torch.arange(4, dtype=torch.float32).to(dtype)


def pair(folder, base, expert=None):
    save(folder / "base", base)
    save(folder / "x", base if expert is None else expert)
    return folder / "base", [folder / "x"]


@pytest.mark.parametrize("word", CARRIED)
@pytest.mark.parametrize("only", [True, False])
def test_in_a_base_they_are_refused_by_name(tmp_path, word, only):
    state = {"q": odd(word)} | ({} if only else {"w": torch.ones(3)})
    base, experts = pair(tmp_path, state)
    with pytest.raises(
        TadropError, match=rf"base: tensor 'q' is torch.{word}, which is"
    ):
        opened(base, experts)


@pytest.mark.parametrize("word", CARRIED)
def test_as_a_task_s_own_they_are_carried_bit_for_bit(tmp_path, word):
    state = {"w": torch.ones(3)}
    base, experts = pair(tmp_path, state, state | {"head.q": odd(word)})
    stream = opened(base, experts, ("head.*",))
    source = streamed(stream, Method(task_arithmetic.merge))
    plan = Plan(tmp_path / "out", expand=True)
    export(source, stream.base, stream.private_tensors(), plan)
    own = load_file(tmp_path / "out" / "x" / "model.safetensors")["head.q"]
    assert own.dtype == getattr(torch, word)
    assert torch.equal(own.view(torch.uint8), odd(word).view(torch.uint8))


def test_a_dtype_that_no_file_has_is_named():
    with pytest.raises(TadropError, match=r"'a\\nb' is torch\.complex128, which safe"):
        form_of("a\nb", torch.complex128, (3,))


def test_nothing_but_empty_tensors(tmp_path):
    base, experts = pair(tmp_path, {"w": torch.ones(0, 3)})
    with pytest.raises(
        TadropError, match=r"base: no floating-point tensor has an entry"
    ):
        opened(base, experts)


def test_empty_tensors_among_others(tmp_path):
    base, experts = pair(tmp_path, {"w": torch.ones(3), "z": torch.ones(0, 3)})
    merge_checkpoints(base, experts, tmp_path / "out", tadrop=True)
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert merged["z"].shape == (0, 3)
    assert torch.equal(merged["w"], torch.ones(3))


def test_sparse_tensors_are_named(tmp_path):
    matrix = torch.eye(3).to_sparse()
    for name in ("base", "x"):
        save(tmp_path / name, {"w": torch.ones(3), "s": matrix}, "torch")
    with pytest.raises(TadropError, match=r"would be left out: 's' \(sparse\)"):
        opened(tmp_path / "base", [tmp_path / "x"])


def test_names_of_tensors_are_quoted(tmp_path):
    name = "a\nb\x1b[2J/../ü.ß"
    state = {"w": torch.ones(3), name: torch.ones(2)}
    base, experts = pair(tmp_path, state)
    merge_checkpoints(base, experts, tmp_path / "out")
    assert name in load_file(tmp_path / "out" / "model.safetensors")
    (tmp_path / "y").mkdir()
    save_file({"w": torch.ones(3)}, tmp_path / "y" / "model.safetensors")
    with pytest.raises(
        TadropError, match=r"tensor 'a\\nb\\x1b\[2J/\.\./ü\.ß' is"
    ) as error:
        opened(base, [tmp_path / "y"])
    assert str(error.value).isprintable()


def test_a_mask_that_all_models_hold_may_be_infinite(tmp_path):
    mask = torch.full((3, 3), -torch.inf).triu(1)
    tensors = {"w": torch.ones(3), "mask": mask}
    base, experts = pair(tmp_path, tensors)
    out = merge_checkpoints(base, experts, tmp_path / "out", dtype="fp16").path
    assert torch.equal(load_file(out / "model.safetensors")["mask"], mask.half())
    large = tensors | {"mask": torch.full((3, 3), 1e5)}
    base, experts = pair(tmp_path / "large", large)
    with pytest.raises(TadropError, match="'mask' does not fit float16; use"):
        merge_checkpoints(base, experts, tmp_path / "two", dtype="fp16")
