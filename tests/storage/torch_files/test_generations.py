"""Genuine torch files of every generation give what torch.load gives, bit for bit."""

import io
import pickle
import struct
import sys
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from tadrop.storage.checkpoint import open_checkpoint
from tadrop.storage.legacy import open_any
from tadrop.storage.torch_files.reader import read
from tests.storage.torch_files.bombs import tar_of
from tests.storage.torch_files.bytes_of import (
    MAGIC,
    SIZES,
    dictionary,
    numbers,
    program,
    storage,
    streamed,
    text,
)

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
    *(torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
    *(torch.bool, torch.complex64, torch.complex128),
)
ZIPPED = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])


def bits(tensor):
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert ours[name].shape == tensor.shape, name
        assert ours[name].stride() == tensor.stride(), name
        assert torch.equal(bits(ours[name]), bits(tensor)), name


def state():
    """Tensors of every dtype and every way to lie in a storage."""
    torch.manual_seed(0)
    weight = torch.randn(6, 4)
    tensors = {f"of {dtype}": _of(dtype) for dtype in DTYPES}
    return tensors | {
        "parameter": nn.Parameter(weight.clone()),
        "whole": weight,
        "rows": weight[2:4],
        "column": weight[:, 1],
        "transposed": weight.t(),
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 5),
        "expanded": torch.ones(1).expand(7),
        "one row": torch.arange(5).expand(1, -1),
        "with attributes": _with_attributes(weight.clone()),
        "größe.名": torch.ones(2),
    }


def _of(dtype):
    if dtype == torch.bool:
        return torch.tensor([True, False])
    return torch.arange(24, dtype=torch.uint8).repeat(dtype.itemsize).view(dtype)[3:9]


def _with_attributes(tensor):
    tensor.note = "kept by torch, and no value"
    return tensor


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@ZIPPED
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_state_dict_of_every_kind_of_tensor(tmp_path, zipped, protocol):
    file = tmp_path / "x.pt"
    tensors = state()
    torch.save(
        tensors,
        file,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    ours = open_any(file).tensors
    same(ours, tensors)
    if zipped and protocol < 4:  # torch does not read all back that it writes
        same(ours, torch.load(file, weights_only=True))
    opened = open_checkpoint(file).tensors
    assert all(torch.equal(bits(opened[n]), bits(tensors[n])) for n in opened)


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("mask", torch.ones(3, 3).triu(), persistent=False)
        self.tied = nn.Linear(4, 3, bias=False)
        self.tied.weight = self.linear.weight
        self.settings = {"rate": 0.1, "names": ["a", "b"], "size": (3, 4)}


@ZIPPED
def test_a_whole_module(tmp_path, zipped):
    module = nn.ModuleDict({"a": Inner(), "b": nn.Sequential(Inner(), nn.ReLU())})
    torch.save(module, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    file = read(tmp_path / "x.pt")
    same(file.tensors, module.state_dict())
    assert file.left_out == ("a.mask", "b.0.mask")
    assert f"{Inner.__module__}.Inner" in file.classes
    assert file.aliases["a.tied.weight"] == "a.linear.weight"


@ZIPPED
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
        lambda s: {"model": {"state_dict": s}, "args": {"rate": 0.1}},
        lambda s: {"encoder": OrderedDict(s), "best": 0.3},
        lambda s: {"state_dict": s, "model": "ViT-B-32"},
        lambda s: s | {"model_name": "ViT-B-32", "steps": 7, "none": None},
    ],
)
def test_states_within_dictionaries(tmp_path, zipped, wrap):
    tensors = {"w": torch.randn(3, 2), "b": torch.randn(2)}
    file = tmp_path / "x.pt"
    torch.save(wrap(tensors), file, _use_new_zipfile_serialization=zipped)
    same(open_any(file).tensors, tensors)


@ZIPPED
def test_prefixes_of_parallel_training_stay_as_they_are(tmp_path, zipped):
    tensors = {f"module.{n}": t for n, t in nn.Linear(2, 2).state_dict().items()}
    file = tmp_path / "x.pt"
    torch.save({"model": tensors}, file, _use_new_zipfile_serialization=zipped)
    same(open_any(file).tensors, tensors)


@pytest.mark.skipif(sys.platform != "linux", reason="maps are listed as on Linux")
def test_tensors_of_a_large_file_are_mapped(tmp_path):
    torch.save({"w": torch.randn(1 << 18)}, tmp_path / "x.pt")
    tensor = open_any(tmp_path / "x.pt")["w"]
    lines = Path("/proc/self/maps").read_text().splitlines()
    starts = [int(line.split("-")[0], 16) for line in lines if "x.pt" in line]
    assert starts
    assert 0 <= tensor.data_ptr() - min(starts) < (tmp_path / "x.pt").stat().st_size


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_archive(tmp_path):
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    example = torch.randn(2, 4)
    for make in (torch.jit.script, lambda m: torch.jit.trace(m, example)):
        torch.jit.save(make(module), str(tmp_path / "x.pt"))
        same(open_any(tmp_path / "x.pt").tensors, module.state_dict())


# What torch before 1.6 wrote, made by hand as its sources say.

VALUES = struct.pack("<6f", *range(6))
EXPECTED = torch.arange(6.0).view(2, 3)
FLOATS = b"ctorch\nFloatStorage\n"


def early(rebuild, more=b"", module="torch._utils"):
    """A tensor's opcodes as torch's sources of that time would write them."""
    function = f"c{module}\n{rebuild}\n".encode()
    place = b"K\x00" + numbers([2, 3]) + numbers([3, 1])
    return function + b"(" + storage("94", 6, view=b"N") + place + more + b"tR"


ORDERED_OF_PYTHON_2 = b"ccollections\nOrderedDict\n]\x85R"


@pytest.mark.parametrize(
    "opcodes",
    [
        early("_rebuild_tensor"),  # 0.1.9 to 0.3
        early("_rebuild_tensor_v2", b"\x89" + ORDERED_OF_PYTHON_2),  # 0.4 to 1.5
        b"ctorch._utils\n_rebuild_parameter\n"
        + early("_rebuild_tensor_v2", b"\x89N")
        + b"\x88"
        + ORDERED_OF_PYTHON_2
        + b"\x87R",
        # A Parameter of torch 0.3: its class, its data, and what Variable knew.
        b"ctorch.nn.parameter\nParameter\n"
        + early("_rebuild_tensor")
        + b"\x85R\x88\x89N\x87b",
        # A Variable of torch 0.1, whose data is the first part of its state.
        b"ctorch.autograd.variable\nVariable\n)R("
        + early("_rebuild_tensor")
        + b"NN\x88\x89tb",
        # A tensor of torch 0.1, which is given its storage as its state.
        b"ctorch\nFloatTensor\n)R("
        + storage("94", 6, view=b"N")
        + b"K\x00"
        + numbers([2, 3])
        + numbers([3, 1])
        + b"tb",
    ],
)
def test_tensors_as_early_torch_wrote_them(tmp_path, opcodes):
    data = streamed(program(dictionary({"w": opcodes})), {"94": VALUES})
    (tmp_path / "x.pt").write_bytes(data)
    assert torch.equal(open_any(tmp_path / "x.pt")["w"], EXPECTED)


def test_dictionaries_and_texts_of_python_2(tmp_path):
    pair = b"](U\x01w" + early("_rebuild_tensor_v2", b"\x89N") + b"e"
    ordered = b"ccollections\nOrderedDict\n]" + pair + b"a\x85R"
    (tmp_path / "x.pt").write_bytes(streamed(program(ordered), {"94": VALUES}))
    same(open_any(tmp_path / "x.pt").tensors, {"w": EXPECTED})


def test_a_whole_module_from_before_zip_files(tmp_path):
    """Its classes come with their source code, as they did from 0.1 to 1.5."""
    parameters = dictionary({"weight": early("_rebuild_tensor_v2", b"\x89N")})
    holders = {"_parameters": parameters, "_buffers": b"}", "_modules": b"}"}
    kind = b"cmodels.net\nNet\n"
    source = text("/home/x/net.py") + text("class Net(nn.Module):\n    pass\n")
    named = b"(" + text("module") + kind + source + b"tQ"
    opcodes = named + b")\x81" + dictionary(holders) + b"b"
    (tmp_path / "x.pt").write_bytes(streamed(program(opcodes), {"94": VALUES}))
    file = read(tmp_path / "x.pt")
    same(file.tensors, {"weight": EXPECTED})
    assert file.classes == ["models.net.Net"]


def test_views_of_a_storage_from_before_zip_files(tmp_path):
    view = b"(" + text("95") + b"K\x02K\x04t"  # its name, first entry, entries
    opcodes = b"ctorch._utils\n_rebuild_tensor\n(" + storage("94", 6, view=view)
    opcodes += b"K\x01" + numbers([3]) + numbers([1]) + b"tR"
    data = streamed(program(dictionary({"w": opcodes})), {"94": VALUES})
    (tmp_path / "x.pt").write_bytes(data)
    theirs = torch.load(tmp_path / "x.pt", weights_only=True)
    same(open_any(tmp_path / "x.pt").tensors, theirs)
    assert theirs["w"].tolist() == [3, 4, 5]


def tar_file():
    """Torch's first format: storages, their views, tensors, and the objects."""
    head = pickle.dumps(1, protocol=2)
    named = program(b"(" + text("7") + text("cpu") + FLOATS + b"t")
    views = pickle.dumps([("8", "7", 2, 4)], protocol=2)
    storages = head + named + struct.pack("<q", 6) + VALUES + views
    tensors = pickle.dumps(2, protocol=2)
    for key, held, shape, stride, offset in (
        ("1", "7", (2, 3), (3, 1), 0),
        ("2", "8", (2,), (1,), 1),
    ):
        tensors += program(b"(" + text(key) + text(held) + FLOATS + b"t")
        tensors += struct.pack("<2i", len(shape), 0)
        tensors += struct.pack(f"<{2 * len(shape) + 1}q", *shape, *stride, offset)
    objects = program(dictionary({"w": text("1") + b"Q", "v": text("2") + b"Q"}))
    return tar_of({"storages": storages, "tensors": tensors, "pickle": objects})


def test_the_tar_archives_of_the_first_torch(tmp_path):
    (tmp_path / "x.pt").write_bytes(tar_file())
    expected = {"w": EXPECTED, "v": torch.tensor([3.0, 4.0])}
    same(open_any(tmp_path / "x.pt").tensors, expected)


def test_streams_as_torch_itself_writes_them(tmp_path):
    """The maker of streams in these tests makes what torch makes."""
    buffer = io.BytesIO()
    torch.save({}, buffer, _use_new_zipfile_serialization=False)
    assert streamed(b"\x80\x02}q\x00.")[:40] == buffer.getvalue()[:40]
    assert pickle.loads(buffer.getvalue()) == MAGIC
    assert SIZES["int"] == 4


# What the archives of OpenAI's CLIP call their members: a folder of the model's name,
# mangled classes, and sources with tables for debuggers.
CLIP_MEMBERS = (
    *("code/__torch__/multimodal/model/multimodal_transformer.py",),
    *("code/__torch__/multimodal/model/multimodal_transformer.py.debug_pkl",),
    *(
        "code/__torch__/multimodal/model/multimodal_transformer/___torch_mangle_9469.py",
    ),
    *("code/__torch__/torch/nn/modules/container/___torch_mangle_9435.py",),
    *("code/__torch__/torch/nn/modules/linear.py.debug_pkl", "constants/0"),
)


@pytest.mark.parametrize("folder", ["ViT-B-32", "ViT-L-14-336px", "RN50x4", "archive"])
def test_an_archive_with_the_members_of_openai_s(tmp_path, folder):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)).half()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), str(tmp_path / "saved.pt"))
    renamed = tmp_path / "x.pt"
    with (
        zipfile.ZipFile(tmp_path / "saved.pt") as saved,
        zipfile.ZipFile(renamed, "w") as archive,
    ):
        for name in saved.namelist():
            inner = name.partition("/")[2]
            archive.writestr(f"{folder}/{inner}", saved.read(name))
            if inner == "data.pkl":
                there = {name.partition("/")[2] for name in saved.namelist()}
                for more in sorted({*CLIP_MEMBERS} - there):
                    archive.writestr(f"{folder}/{more}", b"x = 1\n")
    state = read(renamed).tensors
    assert state.keys() == module.state_dict().keys()
    for name, tensor in module.state_dict().items():
        assert torch.equal(state[name], tensor)
