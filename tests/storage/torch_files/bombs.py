"""Small files that cost a careless reader hours or all memory, each at most 1 MB."""

import io
import pickle
import tarfile
import zipfile

from tests.storage.torch_files.bytes_of import (
    DENSE,
    dictionary,
    integer,
    program,
    storage,
    streamed,
    tensor,
    text,
    zipped,
)

MODULE = b"ctorch.nn.modules.module\nModule\n"
SIZE = 1_000_000  # bytes
BYTES = b"ctorch\nByteStorage\n"


def module(children, parameters):
    holders = {"_modules": dictionary(children), "_parameters": dictionary(parameters)}
    return MODULE + b")\x81" + dictionary(holders) + b"b"


def remembered(number, opcodes):
    return opcodes + b"r" + number.to_bytes(4, "little")


def recalled(number):
    return b"j" + number.to_bytes(4, "little")


def fill(opcodes, before=b"", after=b""):
    """A zip file whose program repeats opcodes until it is large."""
    times = SIZE // len(opcodes) - 1000 // len(opcodes)
    return zipped(program(before, opcodes * times, after), {"0": bytes(4)})


def stride_of_nothing():
    weight = tensor("0", 1, [1 << 40], [0])
    return zipped(program(dictionary({"w": weight})), {"0": bytes(4)})


def many_strides_of_nothing():
    each = {f"w{i}": tensor("0", 1, [1 << 22], [0]) for i in range(4000)}
    return zipped(program(dictionary(each)), {"0": bytes(4)})


def overlapping_tensors():
    entries = 400_000
    each = {}
    for start in range(2000):
        each[f"w{start}"] = tensor("0", entries, [entries - start], [1], start, BYTES)
    return zipped(program(dictionary(each)), {"0": bytes(entries)})


def views_of_a_stream():
    entries = 400_000
    each = {}
    for start in range(2000):
        view = b"(" + text(f"v{start}") + integer(start) + integer(1000) + b"t"
        place = b"K\x00M\xe8\x03\x85K\x01\x85\x89Nt"
        inner = storage("0", entries, BYTES, view)
        each[f"w{start}"] = DENSE + b"(" + inner + place + b"R"
    return streamed(program(dictionary(each)), {"0": bytes(entries)}, width=1)


def shared_children():
    weight = tensor("0", 1, [1], [1])
    opcodes = remembered(0, module({}, {"w": weight}))
    for level in range(1, 41):
        children = {"a": recalled(level - 1), "b": recalled(level - 1)}
        opcodes += b"0" + remembered(level, module(children, {}))
    return zipped(program(opcodes), {"0": bytes(4)})


def shared_dictionaries():
    """Thousands of modules around one dictionary of thousands of parameters."""
    weight = remembered(0, tensor("0", 1, [1], [1]))
    names = {f"w{i}": recalled(0) for i in range(20_000)}
    opcodes = weight + b"0" + remembered(1, dictionary(names)) + b"0"
    child = dictionary({"_parameters": recalled(1)})
    opcodes += remembered(2, child) + b"0"
    children = {f"m{i}": MODULE + b")\x81" + recalled(2) + b"b" for i in range(8000)}
    return zipped(program(opcodes, module(children, {})), {"0": bytes(4)})


def long_names():
    """A chain of modules whose names share one text of half a megabyte."""
    weight = tensor("0", 1, [1], [1])
    opcodes = remembered(0, text("n" * 500_000)) + b"0"
    opcodes += remembered(1, module({}, {"w": weight}))
    for level in range(2, 5000):
        holder = b"}(" + text("_modules") + b"}" + recalled(0) + recalled(level - 1)
        opcodes += b"0" + remembered(level, MODULE + b")\x81" + holder + b"sub")
    return zipped(program(opcodes), {"0": bytes(4)})


def states_without_end():
    pairs = dictionary({f"w{i}": b"N" for i in range(40_000)})
    opcodes = remembered(0, pairs) + b"0" + MODULE + b")\x81"
    return zipped(program(opcodes, (recalled(0) + b"b") * 50_000))


def shared_arguments():
    """Thousands of objects around one tuple of thousands of members."""
    opcodes = remembered(0, b"(" + b"N}" * 50_000 + b"t") + b"0"
    made = b"cx\ny\n" + recalled(0) + b"R"
    entries = b"}(" + text("a") + tensor("0", 1, [1], [1])
    opcodes += entries + text("b") + b"(" + made * 40_000 + b"tu"
    return zipped(program(opcodes), {"0": bytes(4)})


def many_lost_below():
    deep = b"]" * 250
    lost = b"(" + (tensor("0", 1, [1], [1])) * 6000 + b"l"
    opcodes = dictionary({"w": tensor("0", 1, [1], [1]), "x": deep + lost + b"a" * 250})
    return zipped(program(opcodes), {"0": bytes(4)})


def sharing_wrappers():
    words = ("state_dict", "model", "module", "net", "ema", "teacher", "weights")
    opcodes = remembered(0, dictionary({"a": b"N"}))
    for level in range(1, 2000):
        entries = {word: recalled(level - 1) for word in words}
        opcodes += b"0" + remembered(level, dictionary(entries))
    return zipped(program(opcodes))


def nested_keys():
    opcodes = b"N" + b"2\x86" * 60
    return zipped(program(b"}", opcodes, b"Ns"))


def compressed(megabytes=100):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data.pkl", "w") as member:
            for _ in range(megabytes):
                member.write(b"N0" * (1 << 19))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def many_members():
    return zipped(program(b"}"), {f"{i}": b"" for i in range(7000)})


def tar_of(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def tar_without_end():
    many = pickle.dumps(1 << 61, protocol=2)
    none = pickle.dumps([], protocol=2)
    empty = pickle.dumps(0, protocol=2)
    return tar_of({"storages": empty + none, "tensors": many, "pickle": none})


BOMBS = {
    "stride 0": stride_of_nothing,
    "many of stride 0": many_strides_of_nothing,
    "overlapping tensors": overlapping_tensors,
    "views of a stream": views_of_a_stream,
    "memo index": lambda: zipped(program(b"Nr\xff\xff\xff\x7f")),
    "memo index of a stream": lambda: streamed(program(b"Nr\xff\xff\xff\x7f")),
    "shared children": shared_children,
    "shared dictionaries": shared_dictionaries,
    "long names": long_names,
    "states without end": states_without_end,
    "shared arguments": shared_arguments,
    "many lost": many_lost_below,
    "sharing wrappers": sharing_wrappers,
    "nested keys": nested_keys,
    "compressed": compressed,
    "many members": many_members,
    "tar without end": tar_without_end,
    "text of 4 GB": lambda: zipped(program(b"X\xff\xff\xff\xffabc")),
    "bytes of 2**63": lambda: zipped(program(b"\x8e" + b"\xff" * 7 + b"\x7fabc")),
    "long of 2 GB": lambda: zipped(program(b"\x8b\xff\xff\xff\x7fabc")),
    "digits": lambda: zipped(program(b"I" + b"9" * 900_000 + b"\n")),
    "marks": lambda: fill(b"("),
    "lists": lambda: fill(b"]"),
    "lists in a list": lambda: fill(b"]", b"(", b"l"),
    "dictionaries": lambda: fill(b"}", b"(", b"l"),
    "dictionaries in a state": lambda: fill(
        b"}", b"}(" + text("a") + tensor("0", 1, [1], [1]) + text("b") + b"(", b"lu"
    ),
    "sets": lambda: fill(b"\x8f", b"(", b"l"),
    "frozen sets": lambda: fill(b"(\x91", b"(", b"l"),
    "memo": lambda: fill(b"\x94", b"N"),
    "copies": lambda: fill(b"2", b"N"),
    "tuples of tuples": lambda: fill(b"2\x86", b"N"),
    "tuples in tuples": lambda: fill(b"\x85", b"N"),
    "lists in lists": lambda: fill(b"]2a", b"("),
    "objects": lambda: fill(b"cx\ny\n)\x81", b"(", b"l"),
    "objects of objects": lambda: fill(b"h\x00)\x81", b"cx\ny\nq\x000(", b"l"),
    "numbers": lambda: fill(b"J\xff\xff\xff\x7e", b"(", b"l"),
    "floats": lambda: fill(b"Gabcdefgh", b"(", b"l"),
    "texts": lambda: fill(b"\x8c\x01a", b"(", b"l"),
    "names": lambda: fill(b"ca\nb\n", b"(", b"l"),
}
