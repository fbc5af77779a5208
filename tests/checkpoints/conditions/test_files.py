"""9 to 11, 15 to 19 and 33 to 36: files as disks, trainers and other programs leave them."""

import pytest
import torch
from safetensors.torch import save_file

from tadrop.storage.checkpoint import open_checkpoint
from tests.checkpoints import family as plain
from tests.checkpoints import save, save_shards
from tests.checkpoints.conditions import merged, noted, refused
from tests.checkpoints.tiny_models import edit


def test_11_a_pointer_of_git_lfs(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4123\n"
    (experts[0] / "model.safetensors").write_text(text)
    line = (
        r"a/model.safetensors: a pointer of git-lfs.*4,123 bytes\); fetch it: git lfs"
    )
    refused(base, experts, tmp_path / "out", line)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module.model."])
def test_19_prefixes_of_wrappers(tmp_path, capsys, prefix):
    base, experts, _theta0, thetas = plain(tmp_path, tasks=2)
    state = {f"{prefix}{name}": tensor for name, tensor in thetas[0].items()}
    save_file(state, experts[0] / "model.safetensors")
    out = merged(base, experts, tmp_path / "out").path
    assert f"a: its tensors are the base's without '{prefix}'" in noted(capsys)
    mean = (thetas[0]["big.weight"] + thetas[1]["big.weight"]) / 2
    torch.testing.assert_close(open_checkpoint(out)["big.weight"], mean)


def test_33_an_adapter_beside_whole_weights(tmp_path, capsys):
    base, experts, *_ = plain(tmp_path, tasks=1)
    (experts[0] / "adapter_config.json").write_text("{}")
    (base / "adapter_config.json").write_text("{}")
    (base / "trainer_state.json").write_text("{}")
    out = merged(base, experts, tmp_path / "out").path
    assert "adapter_config.json beside whole weights" in noted(capsys)
    assert not (out / "adapter_config.json").exists()
    assert not (out / "trainer_state.json").exists()


def test_34_quantised_weights_by_configuration_and_by_name(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    edit(experts[0] / "config.json", quantization_config={"quant_method": "gptq"})
    line = r"a: its weights are quantised \(quantization_config in config.json, gptq\)"
    refused(base, experts, tmp_path / "out", line)
    (experts[0] / "config.json").unlink()
    state = {"l.qweight": torch.ones(4, dtype=torch.int32), "l.scales": torch.ones(4)}
    for name in ("q0", "q1"):
        save(tmp_path / name, state)
    line = r"q1: its weights are quantised \(tensor 'l.qweight'\)"
    refused(
        tmp_path / "q0", [tmp_path / "q1"], tmp_path / "out", line.replace("1", ".")
    )


def test_35_numbers_of_eight_bits_are_read(tmp_path, capsys):
    base = {"w": torch.linspace(-1, 1, 64).view(8, 8)}
    save(tmp_path / "base", base)
    eighth = base["w"].to(torch.float8_e4m3fn)
    save(tmp_path / "a", {"w": eighth})
    out = merged(tmp_path / "base", [tmp_path / "a"], tmp_path / "out").path
    assert "1 tensors are float8 and are read as float32" in noted(capsys)
    assert torch.equal(open_checkpoint(out)["w"], eighth.float())


def test_36_formats_of_other_programs(tmp_path):
    base, _experts, *_ = plain(tmp_path, tasks=1)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "model.gguf").write_bytes(b"GGUF")
    line = r"x/model\.gguf: \.gguf is not read; convert it to safetensors"
    refused(base, [tmp_path / "x"], tmp_path / "out", line)


def test_09_a_single_file_beside_an_index(tmp_path, capsys):
    base, experts, _, thetas = plain(tmp_path, tasks=1)
    save_shards(experts[0], plain(tmp_path / "other", tasks=1)[3][0])
    save_shards(experts[0], {name: tensor + 1 for name, tensor in thetas[0].items()})
    out = merged(base, experts, tmp_path / "out").path
    assert "a: model.safetensors is read, not the shards beside it" in noted(capsys)
    assert torch.equal(open_checkpoint(out)["big.weight"], thetas[0]["big.weight"])


def test_10_a_shard_that_is_missing(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1, form="sharded")
    (experts[0] / "model-2.safetensors").unlink()
    line = r"a/model.safetensors.index.json: shard model-2.safetensors is missing"
    refused(base, experts, tmp_path / "out", line)


class Net(torch.nn.Module):
    """A model of training code, pickled whole."""

    def __init__(self, theta):
        super().__init__()
        self.block = torch.nn.Linear(24, 40)
        self.block.load_state_dict(
            {"weight": theta["block.weight"], "bias": theta["block.bias"]}
        )


def test_15_a_whole_model_in_a_pickle_is_read_by_its_tensors(tmp_path):
    base, _, theta0, thetas = plain(tmp_path, tasks=1)
    names = ("block.weight", "block.bias")
    save_file({name: theta0[name] for name in names}, base / "model.safetensors")
    torch.save(Net(thetas[0]), tmp_path / "whole.pt")
    out = merged(base, [tmp_path / "whole.pt"], tmp_path / "out").path
    assert torch.equal(open_checkpoint(out)["block.bias"], thetas[0]["block.bias"])


@pytest.mark.parametrize("word", ["model_state_dict", "state_dict", "module", "any"])
def test_16_a_dictionary_around_the_state(tmp_path, word):
    base, _, _, thetas = plain(tmp_path, tasks=1)
    file = tmp_path / "training.pt"
    torch.save({word: thetas[0], "epoch": 3, "optimizer": {"state": {}}}, file)
    out = merged(base, [file], tmp_path / "out").path
    assert torch.equal(open_checkpoint(out)["big.weight"], thetas[0]["big.weight"])


def test_17_two_states_side_by_side(tmp_path):
    base, _, _, thetas = plain(tmp_path, tasks=1)
    torch.save({"model": thetas[0], "ema": thetas[0]}, tmp_path / "training.pt")
    line = (
        r"training.pt: holds several states, 'model' \(6 tensors\), 'ema' \(6 tensors\);"
        r" choose one with tadrop convert --key NAME"
    )
    refused(base, [tmp_path / "training.pt"], tmp_path / "out", line)


@pytest.mark.filterwarnings("ignore:torch.quantize")
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (lambda: torch.eye(3).to_sparse(), "sparse"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 1, 0, torch.qint8), "quant"),
    ],
)
def test_18_a_tensor_that_is_not_dense(tmp_path, value, kind):
    base, _, _, thetas = plain(tmp_path, tasks=1)
    torch.save(thetas[0] | {"odd": value()}, tmp_path / "a.pt")
    line = rf"a.pt: tensors would be left out: 'odd' \({kind}.*--leave-out NAME"
    refused(base, [tmp_path / "a.pt"], tmp_path / "out", line)
