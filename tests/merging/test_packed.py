"""The packed form: exact, as short as it says, and refused in one line where damaged."""

import json
import lzma
import struct
import zlib

import numpy as np
import pytest
import torch

from tadrop.merging.packed import encoding, file
from tadrop.merging.packed.encoding import Code, decode, encode
from tadrop.merging.packed.measuring import through_disk
from tadrop.types import LowRank, TadropError
from tadrop.vectors.merged import Merged, pack
from tests import tiny

# --- one tensor


def ints(*values):
    return torch.tensor(values, dtype=torch.float32)


def several(count, size=1000):
    """A tensor of so many different values, none of them 0."""
    return (torch.arange(size) % count + 1.0)[torch.randperm(size)]


@pytest.mark.parametrize(
    ("tensor", "code", "nbytes"),
    [
        (torch.zeros(9), Code("z"), 0),
        (torch.empty(0, 3), Code("z"), 0),
        (torch.tensor(2.5), Code("d"), 4),
        (torch.tensor(0.0), Code("z"), 0),
        (torch.full((3, 4), -1.5), Code("l", 1), 4),
        # 1 bit of sign an entry, and two scales
        (ints(*[0.5, -0.5] * 20), Code("l", 2), 5 + 8),
        # 3 of 1000: a mask and three values
        (torch.cat([ints(1, 2, 3), torch.zeros(997)]), Code("s", 3), 125 + 12),
        (several(4), Code("l", 4), 250 + 16),
        # Five values need three bits.
        (several(5), Code("l", 5), 375 + 20),
        (several(256), Code("l", 256), 1000 + 1024),
        (several(257), Code("d"), 4000),
    ],
)
def test_the_shortest_form_is_taken(tensor, code, nbytes):
    packed = encode(tensor)
    assert packed.code == code
    assert packed.bits.nbytes + packed.values.nbytes == nbytes
    shape = tuple(tensor.shape)
    assert packed.bits.nbytes == code.nbytes(shape)
    assert len(packed.values) == code.nvalues(shape)
    assert torch.equal(decode(code, shape, packed.bits, packed.values), tensor)


def test_bits_by_hand():
    """Levels -1, 0, 2 are numbered 0, 1, 2, two bits each."""
    packed = encode(ints(2, -1, 0, 2, 2, 0, -1, 2, 0))
    assert packed.code == Code("l", 3)
    assert packed.values.tolist() == [-1, 0, 2]
    assert packed.bits.tolist() == [0b10000110, 0b10010010, 0b01000000]
    sparse = encode(torch.cat([ints(0, 5, 0, 0, 0, 0, 0, 0, -7), torch.zeros(50)]))
    assert sparse.code == Code("s", 2)
    assert sparse.values.tolist() == [5, -7]
    assert sparse.bits.tolist() == [0b01000000, 0b10000000, *[0] * 6]


@pytest.mark.parametrize("levels", [1, 2, 3, 7, 31, 128, 200])
def test_numbers_of_any_width_come_back(levels):
    numbers = torch.randint(levels, (301,))
    width = (levels - 1).bit_length()
    bits = encoding._numbered(numbers, width)
    assert len(bits) == -(-301 * width // 8)
    assert encoding._unnumbered(bits, 301, width).tolist() == numbers.tolist()


# --- a file


def merged():
    """Two tasks: one tensor of each way in which tasks can differ."""
    own = tiny.normal(2, 6, 5, words="own")
    sparse = torch.where(tiny.normal(2, 40, words="cut") > 1.2, 1.5, 0.0)
    sparse *= tiny.normal(2, 40, words="values")
    masks = tiny.normal(2, 3, 5, words="masks") > 0
    left, right = (
        tiny.normal(2, 7, 2, words="left"),
        tiny.normal(2, 2, 4, words="right"),
    )
    return Merged(
        ("a", "b"),
        {
            "own": own,
            "sparse": sparse,
            "shared": tiny.normal(1, 8, words="one"),
            "zero": torch.zeros(2, 4),
            "masked": tiny.normal(1, 3, 5, words="masked"),
            "scalar": torch.tensor([[1.0], [2.0]]).view(2),
        },
        {"masked": pack(masks)},
        torch.tensor([0.5, 2.0]),
        low_rank={"thin": LowRank(left, right)},
    )


def same(one, other):
    for task in one.tasks:
        for name in one.names:
            assert torch.equal(one.delta(task, name), other.delta(task, name)), name


def test_what_is_read_is_what_was_written(tmp_path):
    path, plain = tmp_path / file.NAME, merged()
    sizes = file.write(path, plain)
    back = file.read(path)
    same(plain, back)
    assert back.tasks == plain.tasks
    assert {*back.names} == {*plain.names}
    assert back.stored_bytes() == sizes.file == path.stat().st_size
    assert not back.is_shared


def test_the_file_is_as_long_as_its_parts(tmp_path):
    """Bytes counted by hand: 8 of the header's length, the header, and the parts."""
    path, taus = tmp_path / file.NAME, torch.zeros(3, 1000)
    for task, stride in enumerate((10, 20, 50)):
        taus[task, ::stride] = tiny.normal(1000 // stride, words=stride)
    sizes = file.write(path, Merged(("a", "b", "c"), {"w": taus}))
    raw = path.read_bytes()
    header = 8 + struct.unpack("<Q", raw[:8])[0]
    bits, values = 3 * 125, 4 * (100 + 50 + 20)
    assert sizes.file == len(raw) == header + bits + values
    packed = np.packbits((taus != 0).numpy(), axis=1).tobytes()
    assert sizes.xz == header + len(lzma.compress(packed)) + values
    assert header < 400


def test_a_merge_for_all_tasks_is_stored_once(tmp_path):
    shared = Merged(("a", "b", "c"), {"w": tiny.normal(1, 500, words="w")})
    sizes = file.write(tmp_path / file.NAME, shared)
    assert 2000 < sizes.file < 2400
    assert file.read(tmp_path / file.NAME).is_shared


def test_through_the_disk_leaves_no_file(tmp_path):
    plain = merged()
    back = through_disk(plain, tmp_path)
    same(plain, back)
    assert back.found["packed"]["file"] == back.stored_bytes()
    assert back.found["packed"]["xz"] > 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_more_than_weights_is_refused(tmp_path):
    class Adapter:
        def attach(self, module, task):
            raise AssertionError

        def stored_bytes(self):
            return 1

    with pytest.raises(TadropError, match="this row is more than weights"):
        file.write(tmp_path / "x", Merged(("a",), {}, attachment=Adapter()))


# --- damage


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / file.NAME
    file.write(path, merged())
    return path


def parted(path):
    """The header as an object, and what follows it."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    return header, json.loads(header["__metadata__"]["tadrop"]), raw[8 + size :]


def rewritten(path, change, summed=True):
    """The file with its note changed. summed: its check sum says that this was meant"""
    header, note, body = parted(path)
    change(note)
    words = ["format", "tasks", "shapes", "codes"]
    if summed and set(words) <= note.keys():
        text = json.dumps([note[word] for word in words]).encode()
        start, stop = header["values"]["data_offsets"]
        note["sums"][1] = zlib.crc32(body[start:stop] + text)
    header["__metadata__"]["tadrop"] = json.dumps(note)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def told(path):
    with pytest.raises(TadropError) as info:
        file.read(path)
    said = str(info.value)
    assert "\n" not in said
    assert said.startswith(f"{path}: ")
    return said.removeprefix(f"{path}: ")


def test_every_flipped_byte_of_the_body_is_seen(whole):
    raw = whole.read_bytes()
    _, _, body = parted(whole)
    first = len(raw) - len(body)
    for place in range(0, len(body), 7):
        damaged = bytearray(raw)
        damaged[first + place] ^= 0x10
        whole.write_bytes(bytes(damaged))
        assert "the check sum of its" in told(whole)


@pytest.mark.parametrize("length", [0, 5, 100, -1, -50])
def test_a_file_that_was_cut_short(whole, length):
    whole.write_bytes(whole.read_bytes()[:length])
    assert told(whole).startswith("not a readable packed merge (")


def put(key, value):
    def change(note):
        *above, last = key
        for word in above:
            note = note[word]
        note[last] = value

    return change


DAMAGED = "a damaged packed merge ({}); write it again"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(["format"], "packed 2"), "not a packed merge of the form 'packed 1'"),
        (put(["tasks"], ["a"]), DAMAGED.format("3 lists of codes for 1 tasks")),
        (lambda note: note.pop("codes"), DAMAGED.format("'codes'")),
        (
            put(["codes", 1, 0], "x3"),
            DAMAGED.format("tensor 'own' of shape [6, 5] has code 'x3'"),
        ),
        (
            put(["codes", 1, 1], "s41"),
            DAMAGED.format("tensor 'sparse' of shape [40] has code 's41'"),
        ),
        (
            put(["codes", 1, 1], "l257"),
            DAMAGED.format("tensor 'sparse' of shape [40] has code 'l257'"),
        ),
        (
            put(["codes", 1, 0], "m"),
            DAMAGED.format(
                "its codes want 42 bytes and 141 values, and there are 38 and 171"
            ),
        ),
    ],
)
def test_a_note_that_does_not_fit(whole, change, said):
    rewritten(whole, change)
    got = told(whole)
    if "its codes want" in said:
        assert "its codes want" in got
    else:
        assert got == said


@pytest.mark.parametrize(
    "change",
    [
        put(["tasks", 0], "c"),
        put(["shapes", "own"], [5, 6]),
        put(["codes", 1, 0], "z"),
        lambda note: note["shapes"].update(b=note["shapes"].pop("own")),
    ],
)
def test_a_note_that_was_not_written_so(whole, change):
    rewritten(whole, change, summed=False)
    assert told(whole) == DAMAGED.format(
        "the check sum of its values or metadata is another"
    )


def test_another_file_is_none(tmp_path, whole):
    tiny.bench(tmp_path)
    assert told(tmp_path / "base.safetensors").startswith("not a packed merge of the")
    assert told(tmp_path / "absent").startswith("not a readable packed merge (")
