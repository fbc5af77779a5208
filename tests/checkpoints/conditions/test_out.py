"""57 to 60: the folder that is written."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tadrop.merging.full import Full
from tadrop.types import TadropError
from tests.checkpoints import family as plain
from tests.checkpoints.conditions import merged, refused

ROOT = Path(__file__).parents[3]


def test_57_an_output_that_is_an_input(tmp_path):
    base, experts, *_ = plain(tmp_path, tasks=1)
    for out in (base, base / "out", tmp_path):
        with pytest.raises(TadropError, match="which is read for this merge"):
            merged(base, experts, out, overwrite=True)


def test_58_a_disk_without_room_and_a_folder_that_is_not_written(tmp_path, monkeypatch):
    base, experts, *_ = plain(tmp_path, tasks=1)
    monkeypatch.setattr("tadrop.merging.source.merge_into", pytest.fail)
    line = r"proc/out: cannot be written \(.*\); choose another"
    refused(base, experts, Path("/proc/out"), line)
    usage = shutil.disk_usage(tmp_path)._replace(free=400_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    line = r"0.00 GB are to be written and 0.00 GB are free; make room"
    refused(base, experts, tmp_path / "out", line)


STOPPED = """
import os, signal, sys
from tadrop.merging.full import Full

number, whole = int(sys.argv.pop()), Full.put

def put(self, *words):
    whole(self, *words)
    os.kill(os.getpid(), number)

Full.put = put
import runpy
runpy.run_module("tadrop", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_59_a_merge_that_is_stopped(tmp_path, number, code):
    base, experts, *_ = plain(tmp_path / "in", tasks=1)
    words = ["merge", base, experts[0], "-o", "out", "--overwrite"]
    line = [sys.executable, "-c", STOPPED, *map(str, words), str(int(number))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    stopped = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True)
    assert stopped.returncode == code
    left = set(os.listdir(tmp_path)) - {"in"}
    assert "out" not in left
    assert left == set() or number == signal.SIGKILL
    merged(base, experts, tmp_path / "out")
    assert set(os.listdir(tmp_path)) == {"in", "out"}


def test_59_a_disk_that_is_full_meanwhile(tmp_path, monkeypatch):
    base, experts, *_ = plain(tmp_path / "in", tasks=1)

    def full(*words):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    line = r"out: could not be written \(No space left on device\)"
    refused(base, experts, tmp_path / "out", line)
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("kind", ["whole", "adapter"])
def test_60_an_input_that_changes_while_it_is_read(tmp_path, monkeypatch, kind):
    base, experts, *_ = plain(tmp_path / "in", tasks=2)
    file = experts[1] / "model.safetensors"
    if kind == "adapter":
        shutil.rmtree(experts[1])
        file = small_adapter(experts[1])
    whole = Full.put

    def put(self, *words):
        os.utime(file, (1, 1))
        whole(self, *words)

    monkeypatch.setattr(Full, "put", put)
    line = rf"{file.name}: changed while it was read; merge again when nothing writes"
    refused(base, experts, tmp_path / "out", line)


def small_adapter(folder):
    """A LoRA of block.weight; returns its file of weights."""
    folder.mkdir()
    factors = {"lora_A": torch.ones(2, 24), "lora_B": torch.ones(40, 2)}
    state = {}
    for name, tensor in factors.items():
        state[f"base_model.model.block.{name}.weight"] = tensor
    save_file(state, folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder / "adapter_model.safetensors"
