"""Names of files and shards that no disk takes, and notes beside files that are damaged."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tadrop.app.verbs.convert import convert
from tadrop.storage.checkpoint import open_checkpoint, verify
from tadrop.storage.legacy import open_any
from tadrop.types import TadropError

LONG = "n" * 5000


@pytest.mark.parametrize("name", [f"{LONG}.pt", LONG, "a/" * 3000 + "x.pt"])
@pytest.mark.parametrize("reader", [open_checkpoint, open_any, convert])
def test_names_that_no_disk_takes(tmp_path, name, reader):
    arguments = (tmp_path / "out.safetensors",) if reader is convert else ()
    with pytest.raises(
        TadropError, match=r"cannot be a file|no such checkpoint"
    ) as error:
        reader(tmp_path / name, *arguments)
    assert len(str(error.value)) < 300
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("shard", "words"),
    [
        (LONG, "cannot be a file"),
        ("a\0b.safetensors", "is missing"),
        ("", "outside the directory"),
        ("..", "outside the directory"),
        (".", "outside the directory"),
        ("/", "outside the directory"),
        ("x\ny.safetensors", "is missing"),
        (["x.safetensors"], "outside the directory"),
    ],
)
def test_shards_of_strange_names(tmp_path, shard, words):
    index = json.dumps({"weight_map": {"w": shard}})
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(TadropError, match=words) as error:
        open_checkpoint(tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"weight_map": {"w": ' + "9" * 5000 + "}}",
        '{"weight_map": {}}' + "\0",
        "\ufeff{}",
        "null",
        "NaN",
        '"weight_map"',
    ],
)
def test_indices_that_are_none(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(TadropError, match=r"index\.json: ") as error:
        open_checkpoint(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["one_word\n", "\0\0 x y\n", "\udcff"])
def test_sums_that_are_none(tmp_path, text):
    save_file({"w": torch.ones(2)}, tmp_path / "x.safetensors")
    data = text.encode("utf-8", "surrogateescape")
    (tmp_path / "SHA256SUMS").write_bytes(data)
    with pytest.raises(TadropError, match="SHA256SUMS: "):
        verify(tmp_path / "x.safetensors")
