"""Genuine files that fuzzing begins with: `python -m tests.storage.torch_files.corpus`
writes those of the installed torch anew into the folder that is committed.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from tests.storage.torch_files import bytes_of
from tests.storage.torch_files.bombs import module, remembered, tensor

FOLDER = Path(__file__).parent / "corpus"


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("mask", torch.ones(2), persistent=False)


def contents():
    """What is saved, by name."""
    torch.manual_seed(0)
    weight = torch.randn(3, 2)
    flat = {"a": weight, "b": weight, "c": weight[1:], "d": weight.t()}
    kinds = {
        "eight": torch.ones(2).to(torch.float8_e4m3fn),
        "short": torch.tensor([1, 2], dtype=torch.uint16),
        "brain": torch.ones(2, dtype=torch.bfloat16),
        "flag": torch.tensor([True, False]),
        "none": torch.empty(0),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    yield "flat", flat
    yield "kinds", kinds
    yield "wrapped", {"state_dict": OrderedDict(flat), "epoch": 3}
    yield "module", Small()
    yield "sparse", {"w": torch.eye(2).to_sparse(), "v": torch.ones(1)}
    yield "two", {"model": flat, "ema": flat}


def write(folder):
    folder.mkdir(exist_ok=True)
    for name, value in contents():
        torch.save(value, folder / f"{name}.pt")
        if name == "module":
            continue  # a stream of it would hold the source code of torch's classes
        file = folder / f"{name}_stream.pt"
        torch.save(value, file, _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(folder / "script.pt"))
    shared = remembered(0, module({}, {"w": tensor("0", 1, [1], [1])}))
    program = bytes_of.program(shared, b"0", module({"a": b"j\0\0\0\0"}, {}))
    (folder / "tree.pt").write_bytes(bytes_of.zipped(program, {"0": bytes(4)}))
    (folder / "patch.pt").write_bytes(bytes_of.class_patch("canary"))
    flat = (folder / "flat.pt").read_bytes()
    (folder / "directories.pt").write_bytes(bytes_of.two_directories(flat))


if __name__ == "__main__":
    write(FOLDER)
