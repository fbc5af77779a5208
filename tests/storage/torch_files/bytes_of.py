"""Torch files made byte by byte, genuine and hostile; what they do to a careless reader
is to leave a canary in the current folder.
"""

import io
import pickle
import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C
SIZES = {"short": 2, "int": 4, "long": 4}
DENSE = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED = b"ccollections\nOrderedDict\n)R"


def text(word):
    data = word.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(number):
    return b"J" + struct.pack("<i", number)


def long_integer(number):
    data = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values):
    return b"(" + b"".join(map(long_integer, values)) + b"t"


def storage(key, entries, kind=b"ctorch\nFloatStorage\n", view=b""):
    """The opcodes of a storage's persistent id."""
    parts = text("storage"), kind, text(key), text("cpu"), long_integer(entries)
    return b"(" + b"".join(parts) + view + b"tQ"


def tensor(key, entries, shape, stride, offset=0, kind=b"ctorch\nFloatStorage\n"):
    """The opcodes of a tensor of a zip file."""
    inner = storage(key, entries, kind)
    place = long_integer(offset) + numbers(shape) + numbers(stride)
    return DENSE + b"(" + inner + place + b"\x89" + ORDERED + b"tR"


def program(*opcodes):
    return b"\x80\x02" + b"".join(opcodes) + b"."


def dictionary(entries):
    """The opcodes of a dictionary of opcodes by name."""
    pairs = (text(name) + value for name, value in entries.items())
    return b"}(" + b"".join(pairs) + b"u"


def zipped(data, storages=None, packed=False, prefix="archive"):
    """A torch zip file around a program, with the bytes of storages by key."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(f"{prefix}/data.pkl", data)
        for key, content in (storages or {}).items():
            archive.writestr(f"{prefix}/data/{key}", content)
        archive.writestr(f"{prefix}/version", b"3\n")
    return buffer.getvalue()


def streamed(data, storages=None, width=4):
    """A torch file from before zip files, around a program."""
    storages = storages or {}
    buffer = io.BytesIO()
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": SIZES}
    for header in (MAGIC, 1001, sizes):
        pickle.dump(header, buffer, protocol=2)
    buffer.write(data)
    pickle.dump(list(storages), buffer, protocol=2)
    for content in storages.values():
        buffer.write(struct.pack("<q", len(content) // width) + content)
    return buffer.getvalue()


def class_patch(canary):
    """A stream that renames a torch function and has its "source" written to a file."""
    rename = text("dump_patches") + b"\x88" + text("__name__") + text(canary)
    changed = DENSE + b"N}(" + rename + b"u\x86b0"
    source = text("x\ncanary line") + text("first\nsecond")
    return streamed(program(changed, b"(", text("module"), DENSE, source, b"tQ0}"))


def two_directories(data):
    """A zip file of whose directory torch sees all, and Python's zipfile data.pkl alone.

    The zip64 locator points at one record; another one stands right before it.
    """
    directory, body = _directory(data)
    shown = [entry for name, entry in directory if name.endswith("data.pkl")]
    whole = b"".join(entry for _, entry in directory)
    start = len(body) - len(whole)
    true_record = _record(len(directory), len(whole), start)
    at = len(body) + len(true_record)
    shown_record = _record(len(shown), len(b"".join(shown)), at)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, len(body), 1)
    full = (0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    end = b"PK\x05\x06" + struct.pack("<4H2IH", *full)
    return body + true_record + b"".join(shown) + shown_record + locator + end


def _record(entries, size, start):
    numbers = (44, 45, 45, 0, 0, entries, entries, size, start)
    return b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", *numbers)


def _directory(data):
    """The directory's entries by name, and the file up to the directory's end."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        start = archive.start_dir
        names = archive.namelist()
    entries, position = [], start
    for name in names:
        sizes = struct.unpack_from("<3H", data, position + 28)
        length = 46 + sum(sizes)
        entries.append((name, data[position : position + length]))
        position += length
    return entries, data[:position]
