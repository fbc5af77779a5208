"""Damaged files of every kind are read or refused in one line; none crashes, hangs or
writes anything. TADROP_FUZZ=N tries N inputs a test in place of a few hundred, at random.
"""

import contextlib
import io
import json
import os
import time
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from tadrop.app.verbs.convert import convert
from tadrop.storage.checkpoint import open_checkpoint
from tadrop.storage.legacy import open_any
from tadrop.storage.pickles.opcodes import NAMED
from tadrop.types import TadropError
from tests.storage.torch_files import bytes_of
from tests.storage.torch_files.corpus import FOLDER
from tests.storage.torch_files.test_generations import tar_file

TRIES = int(os.environ.get("TADROP_FUZZ", "0"))
SECONDS = 5  # of processor time for an input
FILES = [path.read_bytes() for path in sorted(FOLDER.glob("*.pt"))] + [tar_file()]
MAY_BE_THERE = {"x.pt", "x.safetensors", "x.json"}

fuzzed = settings(
    max_examples=TRIES or 200,
    derandomize=not TRIES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The current folder, in which nothing may appear that was not asked for."""
    path = tmp_path_factory.mktemp("fuzz")
    with contextlib.chdir(path):
        yield path


# What damages a file: where, how far, and what is put there.
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "add", "cut", "copy", "end", "splice"]),
        st.integers(0, 1 << 14),
        st.integers(0, 1 << 14),
        st.one_of(
            st.binary(max_size=9),
            st.sampled_from(
                [*NAMED, b"\xff\xff\xff\x7f", b"PK\x01\x02", b"PK\x05\x06"]
            ),
        ),
    ),
    max_size=6,
)


def damaged(data, edits):
    """The data after edits, in order."""
    for kind, first, second, piece in edits:
        at = first % (len(data) + 1)
        length = second % 64
        if kind == "set":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "add":
            data = data[:at] + piece + data[at:]
        elif kind == "cut":
            data = data[:at] + data[at + length :]
        elif kind == "copy":
            to = second % (len(data) + 1)
            data = data[:to] + data[at : at + 40] + data[to:]
        elif kind == "end":
            data = data[:at]
        else:
            other = FILES[second % len(FILES)]
            data = data[:at] + other[at:]
    return data


def attempt(path, reader):
    """What a reader makes of a file, which may be a refusal and must be quick."""
    start = time.process_time()
    result, said = None, str(path)
    try:
        result = reader(path)
    except TadropError as error:
        said = str(error)
    assert str(path) in said
    assert "\n" not in said
    assert time.process_time() - start < SECONDS
    return result


def check(folder, data):
    """Every reader of torch files against these bytes."""
    path = folder / "x.pt"
    path.write_bytes(data)
    opened = attempt(path, open_checkpoint)
    named = attempt(path, open_any)
    assert (opened is None) == (named is None)
    made = attempt(path, lambda path: convert(path, folder / "x.safetensors"))
    left = {file.name for file in folder.iterdir()}
    assert left <= MAY_BE_THERE
    if opened is None or named is None:
        assert left == {"x.pt"}
        return
    for tensor in opened.tensors.values():
        tensor.reshape(-1).view(torch.uint8).sum()
    if made is not None:
        written = open_checkpoint(folder / "x.safetensors")
        assert written.tensors.keys() >= opened.tensors.keys()
        (folder / "x.safetensors").unlink()
        (folder / "x.json").unlink()
    check_as_torch_reads(path, named.tensors)


def check_as_torch_reads(path, tensors):
    """What torch reads too, it reads the same."""
    try:
        theirs = torch.load(path, weights_only=True)
    except Exception:
        return
    if not isinstance(theirs, dict) or tensors.keys() != theirs.keys():
        return
    for name, tensor in theirs.items():
        assert tensors[name].shape == tensor.shape
        ours = tensors[name].contiguous().view(-1).view(torch.uint8)
        assert torch.equal(
            ours, tensor.detach().contiguous().view(-1).view(torch.uint8)
        )


@pytest.mark.filterwarnings("ignore")
@fuzzed
@given(st.sampled_from(FILES), EDITS)
def test_damaged_files(folder, data, edits):
    check(folder, damaged(data, edits))


def programs():
    """The programs of the zip files, with what they hold beside."""
    for data in FILES:
        if data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                yield {name: archive.read(name) for name in archive.namelist()}


PROGRAMS = [members for members in programs() if len(members) > 2]


def rewritten(members, edits):
    """A whole zip file around a damaged program."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            if name.endswith("/data.pkl"):
                archive.writestr(name, damaged(data, edits))
            else:
                archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")
@fuzzed
@given(st.sampled_from(PROGRAMS), EDITS)
def test_damaged_programs(folder, members, edits):
    check(folder, rewritten(members, edits))


PIECES = st.one_of(
    st.sampled_from([*NAMED]),
    st.sampled_from(
        [
            b"cos\nsystem\n",
            b"ctorch._utils\n_rebuild_parameter\n",
            b"ctorch._tensor\n_rebuild_from_type_v2\n",
            b"ctorch\nTensor\n",
            b"ctorch.nn.modules.module\nModule\n",
            b"ccollections\nOrderedDict\n)R",
            bytes_of.DENSE,
            bytes_of.text("_modules"),
            bytes_of.text("_parameters"),
            bytes_of.text("state_dict"),
            bytes_of.text("w"),
            bytes_of.tensor("0", 1, [1], [1]),
            bytes_of.storage("0", 1),
            b"q\x00",
            b"h\x00",
            b"K\x02",
        ]
    ),
)


@pytest.mark.filterwarnings("ignore")
@fuzzed
@given(st.lists(PIECES, max_size=40), st.booleans())
def test_programs_thrown_together(folder, pieces, zipped):
    make = bytes_of.zipped if zipped else bytes_of.streamed
    before = bytes_of.text("w") + bytes_of.tensor("0", 1, [1], [1])
    program = bytes_of.program(b"}(", before, *pieces, b"u")
    check(folder, make(program, {"0": bytes(4)}))


SAFE = save({"w": torch.ones(2, 2), "b": torch.ones(2)}, {"tied": "w"})


@fuzzed
@given(EDITS)
def test_damaged_safetensors(folder, edits):
    path = folder / "x.safetensors"
    path.write_bytes(damaged(SAFE, edits))
    opened = attempt(path, open_checkpoint)
    for tensor in opened.tensors.values() if opened else ():
        tensor.reshape(-1).view(torch.uint8).sum()
    path.unlink()


INDEX = json.dumps(
    {"metadata": {"total_size": 24}, "weight_map": {"w": "a.safetensors"}}
)
SHARDS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["..", ".", "", "a.safetensors", "a\0b", "n" * 5000, "index", "/"]),
    st.integers(),
    st.none(),
)


@fuzzed
@given(st.one_of(st.none(), st.dictionaries(st.text(max_size=9), SHARDS)), EDITS)
def test_damaged_indices(folder, weight_map, edits):
    whole = folder / "whole"
    whole.mkdir(exist_ok=True)
    (whole / "a.safetensors").write_bytes(SAFE)
    text = INDEX if weight_map is None else json.dumps({"weight_map": weight_map})
    data = damaged(text.encode(), edits)
    (whole / "model.safetensors.index.json").write_bytes(data)
    attempt(whole, open_checkpoint)
    for file in whole.iterdir():
        file.unlink()
    whole.rmdir()


def test_the_corpus_is_there():
    assert len(FILES) > 15
    assert len(PROGRAMS) > 5
