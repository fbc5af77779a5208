"""Members of zip files: what torch's reader lists, and nothing on which readers differ."""

import io
import struct
import zipfile

import pytest
import torch

from tadrop.storage.legacy import open_any
from tadrop.types import TadropError
from tests.storage.torch_files.bytes_of import (
    dictionary,
    program,
    tensor,
    two_directories,
    zipped,
)

PROGRAM = program(dictionary({"w": tensor("0", 2, [2], [1])}))
GOOD = zipped(PROGRAM, {"0": struct.pack("<2f", 1, 2)})


def written(path, data):
    path.write_bytes(data)
    return path


def refused(tmp_path, data, words):
    with pytest.raises(TadropError, match=words) as error:
        open_any(written(tmp_path / "x.pt", data))
    assert "\n" not in str(error.value)


def test_members_are_those_that_torch_lists(tmp_path):
    from tadrop.storage.torch_files import archive

    torch.save({"w": torch.ones(3), "b": torch.ones(2)}, tmp_path / "x.pt")
    for file in (tmp_path / "x.pt", written(tmp_path / "y.pt", GOOD)):
        theirs = torch._C.PyTorchFileReader(str(file))
        ours = archive.members(file, file.read_bytes())
        assert sorted(ours) == sorted(theirs.get_all_records())
        for name, member in ours.items():
            assert member.start == theirs.get_record_offset(name)
            start, end = member.start, member.start + member.nbytes
            assert file.read_bytes()[start:end] == theirs.get_record(name)


def test_a_file_of_a_name_beyond_ascii(tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "größe 名.pt")
    assert torch.equal(open_any(tmp_path / "größe 名.pt")["w"], torch.ones(3))


def changed(data, old, new):
    assert data.count(old), old
    return data.replace(old, new)


def twice(name):
    """An archive with a second member of a name, which torch and Python pick apart."""
    buffer = io.BytesIO(GOOD)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, PROGRAM)
    return buffer.getvalue()


def commented():
    buffer = io.BytesIO(GOOD)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"PK\x05\x06" + bytes(18)
    return buffer.getvalue()


def shifted(entry, field, amount):
    """An archive whose directory has another number in a field of an entry."""
    data = bytearray(GOOD)
    position = zipfile.ZipFile(io.BytesIO(GOOD)).start_dir
    for _ in range(entry):
        sizes = struct.unpack_from("<3H", data, position + 28)
        position += 46 + sum(sizes)
    (number,) = struct.unpack_from("<I", data, position + field)
    struct.pack_into("<I", data, position + field, (number + amount) % (1 << 32))
    return bytes(data)


PACKED, SIZE, HEADER = 20, 24, 42  # fields of an entry


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: two_directories(GOOD), "two directories"),
        (lambda: GOOD + b"more", "bytes after its end, or truncated"),
        (lambda: GOOD[:-1], "bytes after its end, or truncated"),
        (lambda: b"PK\x03\x04", "without an end"),
        (commented, "not where its end says"),
        (lambda: GOOD[:4] + b"xxxx" + GOOD[4:], "not where its end says"),
        (lambda: twice("archive/data.pkl"), "two members 'archive/data.pkl'"),
        (lambda: twice("archive/DATA.PKL"), "two members 'archive/DATA.PKL'"),
        (lambda: twice("other/data.pkl"), r"two archives \('other/data.pkl'\)"),
        (lambda: changed(GOOD, b"data.pkl", b"data\0pkl"), "a member named"),
        (lambda: changed(GOOD, b"data.pkl", b"data\npkl"), "a member named"),
        (lambda: changed(GOOD, b"archive/data.pkl", b"archive\\data.pkl"), "named"),
        (lambda: GOOD.replace(b"data.pkl", b"info.pkl", 1), "two names"),
        (lambda: changed(GOOD, b"data.pkl", b"info.pkl"), "without data.pkl"),
        (lambda: shifted(1, HEADER, 1), "two names|not a readable"),
        (lambda: shifted(1, SIZE, 4), "has two sizes"),
        (lambda: shifted(0, PACKED, 99), "has two sizes"),
        (lambda: zipped(PROGRAM, {"0": bytes(8)}, packed=True), "is compressed"),
        (lambda: zipped(PROGRAM), "storage that is not in the file"),
        (lambda: zipped(PROGRAM, {"0": bytes(8), "../1": b""}), None),
    ],
)
def test_what_readers_could_see_differently_is_refused(tmp_path, make, words):
    if words is None:  # a strange name that nothing reads does no harm
        assert torch.equal(open_any(written(tmp_path / "x.pt", make()))["w"], ZEROS)
        assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]
        return
    refused(tmp_path, make(), words)


ZEROS = torch.zeros(2)


def overlapping():
    """Two members that are the same bytes."""
    data = bytearray(GOOD)
    first = zipfile.ZipFile(io.BytesIO(GOOD)).start_dir
    end = len(data) - 22
    entry = bytes(data[first : first + 46 + len("archive/data.pkl")])
    count, size = struct.unpack_from("<HI", data, end + 10)
    struct.pack_into("<2HI", data, end + 8, count + 1, count + 1, size + len(entry))
    return bytes(data[:end]) + entry + bytes(data[end:])


def test_members_that_share_their_bytes_are_refused(tmp_path):
    refused(tmp_path, overlapping(), "members overlap")


def test_bytes_of_another_order_are_refused(tmp_path):
    buffer = io.BytesIO(GOOD)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    refused(tmp_path, buffer.getvalue(), "another order of bytes")


@pytest.mark.parametrize("size", [0, 1, 4, 21, 22, 100, len(GOOD) // 2])
def test_truncated_files_are_refused(tmp_path, size):
    refused(tmp_path, GOOD[:size], r"x\.pt: not a readable checkpoint")


def test_a_pointer_of_git_lfs_says_what_to_run(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    refused(tmp_path, pointer, "git lfs pull")
