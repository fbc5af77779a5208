"""37 to 42: what is in tensors, and buffers that no formula is about."""

import pytest
import torch
from safetensors.torch import save_file

from tadrop.storage.checkpoint import open_checkpoint
from tests.checkpoints import family as plain
from tests.checkpoints import save, weights
from tests.checkpoints.conditions import merged, noted, refused


def test_37_rounding_is_no_task_vector(tmp_path, capsys):
    base, _experts, theta0, _ = plain(tmp_path, tasks=1)
    copied = {}
    for name, tensor in theta0.items():
        copied[name] = tensor.bfloat16() if tensor.is_floating_point() else tensor
    save(tmp_path / "copy", copied)
    copy = [tmp_path / "copy"]
    written = merged(base, copy, tmp_path / "one", "task_arithmetic")
    assert "most of their difference may be rounding; --round-base" in noted(capsys)
    assert written.density > 0.9
    written = merged(base, copy, tmp_path / "two", "task_arithmetic", round_base=True)
    assert written.density == 0
    again = open_checkpoint(written.path)
    assert torch.equal(again["big.weight"], theta0["big.weight"])


def test_39_masks_that_all_have_are_constants(tmp_path):
    base, experts, theta0, thetas = plain(tmp_path, tasks=1)
    mask = torch.full((4, 4), -torch.inf).triu(1)
    for folder, state in ((base, theta0), (experts[0], thetas[0])):
        save_file(state | {"mask": mask}, folder / "model.safetensors")
    out = merged(base, experts, tmp_path / "out").path
    assert torch.equal(open_checkpoint(out)["mask"], mask)


def test_40_buffers_on_one_side(tmp_path):
    base, experts, theta0, thetas = plain(tmp_path, tasks=2)
    more = {"rotary.inv_freq": torch.ones(3), "position_ids": torch.arange(4)}
    save_file(thetas[0] | more, experts[0] / "model.safetensors")
    out = merged(base, experts, tmp_path / "out").path
    assert set(open_checkpoint(out).tensors) == set(theta0)
    save_file(theta0 | more, base / "model.safetensors")
    out = merged(base, experts, tmp_path / "two").path
    assert torch.equal(open_checkpoint(out)["rotary.inv_freq"], torch.ones(3))


def test_41_running_statistics_are_never_extrapolated(tmp_path, capsys):
    shapes = {"bn.weight": (4,), "bn.running_mean": (4,), "bn.running_var": (4,)}
    states = []
    for number, name in enumerate(("base", "a", "b")):
        state = weights(number, shapes=shapes)
        state["bn.running_var"] = torch.full((4,), [1.0, 0.2, 0.4][number])
        states.append(state)
        save(tmp_path / name, state)
    experts = [tmp_path / "a", tmp_path / "b"]
    settings = {"method": "task_arithmetic", "scale": 1.0}
    out = merged(tmp_path / "base", experts, tmp_path / "out", **settings).path
    assert "2 running statistics are the experts' mean" in noted(capsys)
    variances = open_checkpoint(out)["bn.running_var"]
    torch.testing.assert_close(variances, torch.full((4,), 0.3))
    settings["statistics"] = "base"
    out = merged(tmp_path / "base", experts, tmp_path / "two", **settings).path
    assert torch.equal(open_checkpoint(out)["bn.running_var"], torch.ones(4))


def test_42_integers_that_differ(tmp_path):
    base, experts, _theta0, thetas = plain(tmp_path, tasks=1)
    save_file(
        thetas[0] | {"steps": torch.arange(5) + 1}, experts[0] / "model.safetensors"
    )
    line = (
        r"integers that differ .*a: steps \(torch.int64\); keep the base's with --keep"
    )
    refused(base, experts, tmp_path / "out", line)
    merged(base, experts, tmp_path / "out", keep_base=["steps"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_38_what_is_not_finite_in_one_input(tmp_path, bad):
    base, experts, _, thetas = plain(tmp_path, tasks=2)
    thetas[1]["block.weight"][3, 3] = bad
    save_file(thetas[1], experts[1] / "model.safetensors")
    line = r"'b', 'block.weight': 1 entries are NaN or infinite \(.*/b or .*/base\)"
    refused(base, experts, tmp_path / "out", line)
