"""Files that attack: nothing in them runs, and whoever reads them calls no torch loader."""

import pickle
import re
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch

from tadrop.app.verbs.convert import convert
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.storage.legacy import open_any
from tadrop.types import TadropError
from tests.storage.torch_files import bytes_of

ROOT = Path(__file__).parents[3]
SCRIPT = """
import torch
class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.x = 1
    @torch.jit.export
    def __getstate__(self):
        return (self.x, self.training)
    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]):
        self.x = state[0]
        self.training = state[1]
        t = torch.from_file("canary.txt", shared=True, size=3, dtype=torch.uint8)
        t[0] = 104
        self.x = int(t.sum().item())
    def forward(self, y):
        return y
"""


def readers(path):
    """Every way into a torch file."""
    yield lambda: open_any(path)
    yield lambda: open_checkpoint(path)
    yield lambda: convert(path, path.with_suffix(".safetensors"))


def refused(path, message):
    for reader in readers(path):
        with pytest.raises(TadropError, match=message) as error:
            reader()
        assert path.name in str(error.value)
        assert "\n" not in str(error.value)
    assert not path.with_suffix(".safetensors").exists()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scripted(folder, monkeypatch):
    """A TorchScript archive that writes canary.txt when torch.jit loads it."""
    (folder / "scripted_canary.py").write_text(SCRIPT)
    monkeypatch.syspath_prepend(str(folder))
    from scripted_canary import Module

    file = folder / "script.pt"
    torch.jit.save(torch.jit.script(Module()), str(file))
    sys.modules.pop("scripted_canary")
    return file.read_bytes()


def test_a_pickle_that_changes_a_torch_function_changes_nothing(here):
    before = dict(vars(torch._utils._rebuild_tensor_v2))
    (here / "a.pt").write_bytes(bytes_of.class_patch(str(here / "canary")))
    refused(here / "a.pt", "changes Global")
    assert not list(here.glob("*.patch"))
    assert vars(torch._utils._rebuild_tensor_v2) == before
    assert torch._utils._rebuild_tensor_v2.__name__ == "_rebuild_tensor_v2"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_program_behind_a_second_directory_does_not_run(here, monkeypatch):
    data = scripted(here, monkeypatch)
    (here / "b.pt").write_bytes(bytes_of.two_directories(data))
    refused(here / "b.pt", "two directories")
    (here / "c.pt").write_bytes(data)  # the same program, where all readers see it
    refused(here / "c.pt", "no tensors in it")
    assert not (here / "canary.txt").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_no_loader_of_torch_and_no_unpickler_is_called(here, monkeypatch, zipped):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2))
    file = here / "x.pt"
    torch.save(module, file, _use_new_zipfile_serialization=zipped)
    for reader in readers(file):
        reader()  # imports what it needs
    called = []

    def forbidden(*arguments, **options):
        called.append(arguments)
        raise AssertionError("called")

    for holder, name in (
        (torch, "load"),
        (torch.jit, "load"),
        (torch.serialization, "_load"),
        (torch.serialization, "_legacy_load"),
        (torch._C, "PyTorchFileReader"),
        (torch._C, "import_ir_module"),
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (torch._utils, "_rebuild_tensor_v2"),
    ):
        monkeypatch.setattr(holder, name, forbidden)
    with watched() as events:
        for reader in readers(file):
            reader()
    assert called == []
    assert events == []


WATCHED = ("pickle.find_class", "exec", "compile", "os.system", "subprocess.Popen")
EVENTS = []  # the lists that events go to now


@cache
def add_hook():
    """An audit hook, which cannot be taken away again."""

    def hook(event, arguments):
        for events in EVENTS:
            if event in WATCHED:
                events.append((event, arguments))

    sys.addaudithook(hook)


@contextmanager
def watched():
    """What Python compiles, runs or looks up for a pickle in the block."""
    add_hook()
    EVENTS.append([])
    try:
        yield EVENTS[-1]
    finally:
        EVENTS.pop()


def test_no_code_of_ours_calls_a_loader_that_runs_files():
    """Nothing unpickles but ourselves, and torch.load is asked for weights alone."""
    for path in sorted((ROOT / "tadrop").rglob("*.py")):
        code = path.read_text()
        assert "jit.load" not in code, path
        assert not re.search(r"weights_only\s*=\s*False", code), path
        assert not re.search(r"pickle\.(loads?|Unpickler)\b", code), path
        for call in re.findall(r"torch\.load\((?:[^()]|\([^()]*\))*\)", code):
            assert "weights_only=True" in call, path


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"cos\nsystem\nX\x02\0\0\0id\x85R", "no tensors in it"),
        (b"cos\nsystem\n}b", "changes Global"),
        (b"]}b", "changes list"),
        (b"X\x01\0\0\0xX\x01\0\0\0y\x85R", "calls str"),
        (b"cbuiltins\neval\nX\x01\0\0\0xR", "without arguments"),
        (b"(X\x06\0\0\0moduletQ", "no storage's"),
        (b"NQ", "no storage's"),
        (b"\x82\x01", "opcode that no torch file has"),
        (b"\x97", "opcode that no torch file has"),
        (b"h\x05", "names what it does not hold"),
        (b"R", "names what it does not hold"),
    ],
)
def test_what_pickles_cannot_do(here, opcodes, message):
    (here / "x.pt").write_bytes(bytes_of.zipped(bytes_of.program(opcodes)))
    refused(here / "x.pt", message)
