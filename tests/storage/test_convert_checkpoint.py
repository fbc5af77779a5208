"""Legacy pickles: rebuilt exactly, nothing imported, nothing executed, hostile and broken files
refused.
"""

import json
import os
import pickle
import random
import sys
import tarfile
import zipfile

import pytest
import torch
from torch import nn

from tadrop.app.verbs.convert import convert
from tadrop.storage import legacy
from tadrop.storage.checkpoint import open_checkpoint, sha256
from tadrop.types import TadropError
from tests import tiny_clip as tiny


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory):
    """A whole pickled ImageEncoder and the state dict that it must give."""
    state = tiny.encoder_state(tiny.hf_clip(), seed=1)
    file = tmp_path_factory.mktemp("legacy") / "finetuned.pt"
    torch.save(tiny.image_encoder(state), file)
    tiny.forget_encoder()
    return file, {f"model.{name}": tensor for name, tensor in state.items()}


def test_a_pickled_encoder_gives_its_exact_state_dict(encoder_file, tmp_path):
    file, expected = encoder_file
    with pytest.raises(ModuleNotFoundError):
        torch.load(file, weights_only=False)
    made = convert(file, tmp_path / "out.safetensors")
    written = open_checkpoint(tmp_path / "out.safetensors").tensors
    assert set(written) == set(expected)
    assert all(torch.equal(written[n], t) for n, t in expected.items())
    assert "src.modeling" not in sys.modules
    assert "src.modeling.ImageEncoder" in made["replaced_by_stand_ins"]
    assert made["source"]["sha256"] == sha256(file)
    assert json.loads((tmp_path / "out.json").read_text()) == made


def test_a_classification_head_object(tmp_path):
    head = nn.Linear(4, 3)
    head.normalize = True
    torch.save(head, tmp_path / "head.pt")
    convert(tmp_path / "head.pt", tmp_path / "head.safetensors")
    written = open_checkpoint(tmp_path / "head.safetensors").tensors
    assert torch.equal(written["weight"], head.weight)
    assert torch.equal(written["bias"], head.bias)


def test_tied_tensors_are_written_once_and_named(tmp_path):
    weight = torch.randn(3, 2)
    torch.save(
        {"wte.weight": weight, "lm_head.weight": weight, "steps": 3, "model_name": "x"},
        tmp_path / "tied.pt",
    )
    made = convert(tmp_path / "tied.pt", tmp_path / "tied.safetensors", torch.float16)
    assert made["aliases"] == {"wte.weight": "lm_head.weight"}
    assert torch.equal(
        open_checkpoint(tmp_path / "tied.safetensors")["lm_head.weight"], weight.half()
    )


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapped_state_dicts(tmp_path, wrapper):
    torch.save({wrapper: {"a": torch.ones(2)}, "epoch": 7}, tmp_path / "wrapped.pt")
    assert set(legacy.open_any(tmp_path / "wrapped.pt").tensors) == {"a"}


def test_the_format_before_zip_files(encoder_file, tmp_path):
    torch.save(
        {"a": torch.arange(3.0)},
        tmp_path / "old.pt",
        _use_new_zipfile_serialization=False,
    )
    assert torch.equal(legacy.open_any(tmp_path / "old.pt")["a"], torch.arange(3.0))


class Executes:
    """What a hostile pickle does: call something when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(mark):
    """One of each kind of thing that must not run; all would leave a file behind."""
    return {
        "os.system": Executes(os.system, f"touch {mark}"),
        "eval": Executes(eval, f"open({str(mark)!r}, 'w')"),
        "exec": Executes(exec, f"open({str(mark)!r}, 'w')"),
        "import": Executes(__import__, "antigravity"),
        "getattr": Executes(getattr, "text", "upper"),
        "torch.load": Executes(torch.load, str(mark)),
        "pickle.loads": Executes(
            pickle.loads, pickle.dumps(Executes(os.system, f"touch {mark}"))
        ),
        "open": Executes(open, str(mark), "w"),
    }


@pytest.mark.parametrize("kind", hostile("x"))
@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_pickles_run_nothing(tmp_path, kind, zipped):
    mark, file = tmp_path / "executed", tmp_path / "evil.pt"
    payload = {"a": torch.ones(2), "evil": hostile(mark)[kind]}
    torch.save(payload, file, _use_new_zipfile_serialization=zipped)
    assert torch.equal(legacy.open_any(file)["a"], torch.ones(2))
    assert not mark.exists()
    assert "antigravity" not in sys.modules


def test_hostile_module_trees(tmp_path):
    """A module that contains itself, and one that holds nothing."""
    loop = nn.Module()
    loop.add_module("again", nn.Module())
    loop.again.add_module("again", loop)
    torch.save(loop, tmp_path / "loop.pt")
    with pytest.raises(TadropError, match="nested deeper"):
        legacy.open_any(tmp_path / "loop.pt")
    torch.save(nn.ReLU(), tmp_path / "empty.pt")
    with pytest.raises(TadropError, match="no tensors"):
        legacy.open_any(tmp_path / "empty.pt")


def test_archives_that_are_none_of_torchs(tmp_path):
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", b"")
        archive.writestr("script/data.pkl", b"")
    with tarfile.open(tmp_path / "old.pt", "w") as archive:
        archive.add(tmp_path / "script.pt", "storages")
    with pytest.raises(TadropError, match=r"script\.pt: .*has no end"):
        legacy.open_any(tmp_path / "script.pt")
    with pytest.raises(TadropError, match=r"old\.pt: .*tar archive without 'tensors'"):
        legacy.open_any(tmp_path / "old.pt")


def test_random_damage_is_an_error_or_harmless(tmp_path):
    """Cut and flipped files give TadropError or tensors, never anything else, whatever torch's
    readers raise.
    """
    whole = tmp_path / "whole.pt"
    torch.save(
        {"a": torch.randn(40), "m": nn.Linear(3, 2)},
        whole,
        _use_new_zipfile_serialization=False,
    )
    data, rng, refused = whole.read_bytes(), random.Random(0), 0
    for _ in range(150):
        damaged = bytearray(
            data[: rng.randrange(len(data))] if rng.random() < 0.5 else data
        )
        for _ in range(rng.randrange(6)):
            if damaged:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        file = tmp_path / "damaged.pt"
        file.write_bytes(bytes(damaged))
        try:
            legacy.open_any(file)
        except TadropError as error:
            refused += "damaged.pt" in str(error)
    assert refused > 50


def test_random_pickle_programs_import_nothing(tmp_path):
    """Opcodes thrown together, with global look-ups of dangerous names among them."""
    rng, before = random.Random(1), set(sys.modules)
    globals_ = [
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"csubprocess\nPopen\n",
        b"cantigravity\nx\n",
    ]
    pieces = [
        *globals_,
        b"(",
        b")",
        b"S'touch pwned'\n",
        b"R",
        b"t",
        b"\x85",
        b"}",
        b"]",
        b"a",
        b"b",
        b"0",
        b"2",
        b"N",
    ]
    for _ in range(300):
        program = (
            b"\x80\x02"
            + b"".join(rng.choice(pieces) for _ in range(rng.randrange(1, 14)))
            + b"."
        )
        (tmp_path / "fuzz.pt").write_bytes(program)
        with pytest.raises(TadropError):
            legacy.open_any(tmp_path / "fuzz.pt")
    assert set(sys.modules) - before <= {
        name for name in sys.modules if name.startswith(("torch", "tadrop"))
    }
    assert not list(tmp_path.glob("pwned"))
