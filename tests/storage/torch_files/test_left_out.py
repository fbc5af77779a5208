"""A tensor that would be left out is named; what is left out on request is written down."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from tadrop.app.verbs import convert as verb
from tadrop.app.verbs.convert import convert
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.storage.legacy import open_any
from tadrop.types import TadropError
from tests.storage.torch_files.bytes_of import dictionary, program, tensor, zipped

ZIPPED = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])


class Subclass(torch.Tensor):
    pass


def subclassed():
    return torch.ones(2).as_subclass(Subclass)


def quantised():
    return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


def attributed(value):
    tensor = torch.ones(2)
    tensor.scale = value
    return tensor


def compressed_rows():
    return torch.eye(2).to_sparse_csr()


@ZIPPED
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda: torch.eye(2).to_sparse(), r"'x' \(sparse\)"),
        (compressed_rows, r"'x' \(sparse\)"),
        (quantised, r"'x' \(quantised\)"),
        (subclassed, r"'x' \(a tensor subclass \(.*Subclass\)\)"),
        (lambda: torch.empty(2, device="meta"), r"'x' \(without values \(meta\)\)"),
        (lambda: attributed(torch.ones(3)), r"'x\.scale' \(no entry of the state\)"),
        (lambda: {"y": torch.ones(2)}, r"'x\.y' \(no entry of the state\)"),
        (lambda: [3, torch.ones(2)], r"'x\.1' \(no entry of the state\)"),
        (lambda: torch.ones(2).untyped_storage(), r"'x' \(a bare storage\)"),
        (lambda: np.ones(2), r"'x' \(a numpy array\)"),
        (lambda: nn.Linear(1, 1), r"'x\.bias' .*'x\.weight'"),
        (lambda: torch.ones(2, dtype=torch.complex64).conj(), r"'x': a conjugated"),
    ],
)
def test_every_tensor_that_would_be_left_out_is_named(tmp_path, zipped, value, words):
    file = tmp_path / "x.pt"
    torch.save(
        {"w": torch.ones(2), "x": value()},
        file,
        _use_new_zipfile_serialization=zipped,
    )
    for reader in (open_any, open_checkpoint, convert_beside):
        with pytest.raises(TadropError, match=words) as error:
            reader(file)
        assert str(file) in str(error.value)
        assert "\n" not in str(error.value)
    assert not file.with_suffix(".safetensors").exists()


def convert_beside(file):
    return convert(file, file.with_suffix(".safetensors"))


class Remembering(nn.Module):
    """A module with a tensor that is neither a parameter nor a buffer."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.inner.scale = torch.ones(2)
        self.inner.known = [self.inner.weight]
        self.history = [torch.zeros(3)]


def test_attributes_of_modules_are_named_and_may_be_left_out(tmp_path):
    file = tmp_path / "x.pt"
    torch.save(Remembering(), file)
    with pytest.raises(
        TadropError, match=r"'history\.0' .*'inner\.scale'.*--leave-out"
    ):
        convert_beside(file)
    target = tmp_path / "out.safetensors"
    made = convert(file, target, leave_out=["history*", "inner.scale"])
    assert made["left_out"] == ["history.0", "inner.scale"]
    assert json.loads(target.with_suffix(".json").read_text()) == made
    assert open_checkpoint(target).tensors.keys() == {"inner.weight", "inner.bias"}


def test_several_states_are_listed_and_one_is_chosen(tmp_path):
    file = tmp_path / "x.pt"
    model, ema = {"w": torch.zeros(2)}, {"w": torch.ones(2), "b": torch.ones(1)}
    torch.save({"model": model, "ema": ema, "epoch": 3}, file)
    listed = r"'model' \(1 tensors\), 'ema' \(2 tensors\); choose one .*--key"
    for reader in (open_any, open_checkpoint, convert_beside):
        with pytest.raises(TadropError, match=listed):
            reader(file)
    target = tmp_path / "out.safetensors"
    convert(file, target, key="ema")
    assert torch.equal(open_checkpoint(target)["w"], torch.ones(2))
    with pytest.raises(TadropError, match=r"no entry 'emma', but 'model', 'ema'"):
        convert(file, target, key="emma")


def test_options_of_the_command_line(tmp_path, monkeypatch, capsys):
    file = tmp_path / "x.pt"
    entry = {"w": torch.ones(2), "s": torch.eye(2).to_sparse()}
    torch.save({"model": {"a": torch.ones(1)}, "ema": entry}, file)
    words = [str(file), "--key", "ema", "--leave-out", "s"]
    monkeypatch.setattr("sys.argv", ["convert", *words])
    verb.main()
    assert "1 tensors, 2 entries" in " ".join(capsys.readouterr().out.split())
    assert list(open_checkpoint(tmp_path / "x.safetensors").tensors) == ["w"]


@ZIPPED
def test_ties_are_written_so_that_they_are_read_back(tmp_path, zipped):
    weight = torch.randn(3, 2)
    tied = {"wte": weight, "head": weight, "format": weight, "part": weight[1:]}
    file, target = tmp_path / "x.pt", tmp_path / "x.safetensors"
    torch.save(tied, file, _use_new_zipfile_serialization=zipped)
    convert(file, target)
    opened = open_checkpoint(target)
    assert opened.aliases == {"wte": "format", "head": "format"}
    assert open_checkpoint(file).aliases == {"wte": "format", "head": "format"}
    for name in tied:
        tensor = opened[opened.aliases.get(name, name)]
        assert torch.equal(tensor, tied[name])


def test_a_tie_whose_name_metadata_needs_is_written_twice(tmp_path):
    weight = torch.randn(3)
    tied = {"a": weight, "format": weight, "source_sha256": weight}
    torch.save(tied, tmp_path / "x.pt")
    convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    opened = open_checkpoint(tmp_path / "x.safetensors")
    assert opened.tensors.keys() == tied.keys()
    assert opened.aliases == {}


def test_dtypes_that_safetensors_has_are_written_as_they_are(tmp_path):
    tensors = {
        "eight": torch.ones(3).to(torch.float8_e4m3fn),
        "short": torch.tensor([1, 2], dtype=torch.uint16),
        "long": torch.tensor([1, 2], dtype=torch.uint64),
        "complex": torch.ones(2, dtype=torch.complex64),
    }
    torch.save(tensors, tmp_path / "x.pt")
    convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    written = open_checkpoint(tmp_path / "x.safetensors").tensors
    for name, values in tensors.items():
        assert written[name].dtype == values.dtype
        assert torch.equal(written[name].view(torch.uint8), values.view(torch.uint8))
    torch.save({"z": torch.ones(2, dtype=torch.complex128)}, tmp_path / "z.pt")
    with pytest.raises(TadropError, match=r"cannot hold 'z' \(torch\.complex128\)"):
        convert_beside(tmp_path / "z.pt")


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "words"),
    [
        ([3], [1], 2, "reaches out of its storage"),
        ([5], [1], 0, "reaches out of its storage"),
        ([2, 2], [3, 1], 0, "reaches out of its storage"),
        ([1], [1], 4, "reaches out of its storage"),
        ([0], [1], 5, "outside its storage"),
        ([1 << 40, 1 << 40], [0, 0], 0, "outside its storage"),
        ([-1], [1], 0, "out of range"),
        ([2], [-1], 1, "out of range"),
        ([2], [1], -1, "out of range"),
        ([2, 2], [1], 0, "differ in length"),
        ([1] * 65, [1] * 65, 0, "without a shape"),
        ([1 << 70], [0], 0, "out of range"),
    ],
)
def test_tensors_stay_within_their_storage(tmp_path, shape, stride, offset, words):
    opcodes = dictionary({"w": tensor("0", 4, shape, stride, offset)})
    (tmp_path / "x.pt").write_bytes(zipped(program(opcodes), {"0": bytes(16)}))
    with pytest.raises(TadropError, match=rf"x\.pt: .*'w'.*{words}"):
        open_any(tmp_path / "x.pt")


@pytest.mark.parametrize(("entries", "nbytes"), [(4, 12), (4, 20), (1 << 40, 16)])
def test_storages_are_as_large_as_they_say(tmp_path, entries, nbytes):
    opcodes = dictionary({"w": tensor("0", entries, [1], [1])})
    (tmp_path / "x.pt").write_bytes(zipped(program(opcodes), {"0": bytes(nbytes)}))
    with pytest.raises(TadropError, match=rf"storage of {nbytes} bytes"):
        open_any(tmp_path / "x.pt")
