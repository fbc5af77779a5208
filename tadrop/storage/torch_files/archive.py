"""The members of a zip file, where every reader must see the same ones.

Torch's reader and Python's differ in which directory they read: in the zip64 locator's
offset, in bytes before the archive, in comments after it, in names that differ by case.
A file that leaves them a choice is refused. What is listed here is what torch's reader
lists, and is compared with what Python's zipfile lists.
"""

import mmap
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tadrop.storage.pickles.nodes import UnreadableError

END = struct.Struct("<4s4H2IH")  # the end of the directory
END64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR = struct.Struct("<4sIQI")  # where END64 is
ENTRY = struct.Struct("<4s6H3I5H2I")  # of the directory
LOCAL = struct.Struct("<4s5H3I2H")  # before a member's bytes
NONE16, NONE32 = 0xFFFF, 0xFFFFFFFF  # the value is where zip64 keeps it
ENCRYPTED, UTF8 = 0x41, 0x800  # flags
MANY = 1 << 20  # members


class Member(NamedTuple):
    """A member of an archive: where its bytes lie, and whether they are packed."""

    name: str
    header: int
    start: int
    nbytes: int
    stored: bool


class Directory(NamedTuple):
    """Where an archive's directory lies, and how many entries it has."""

    start: int
    size: int
    entries: int


def members(path: Path, data: mmap.mmap) -> dict[str, Member]:
    """The members of a torch file by their names after the archive's own.

    Raises UnreadableError if readers could differ about them, or whatever damage leads to.
    """
    directory = _directory(data)
    listed = list(_entries(data, directory))
    _refuse_overlaps(listed, directory)
    _compare(path, listed)
    return _by_name(listed)


def _directory(data: mmap.mmap) -> Directory:
    """The directory, which all that comes after it must agree about."""
    first = len(data) - END.size
    if first < 0:
        raise UnreadableError("a zip file without an end; fetch it again")
    signature, disk, disks, here, count, size, start, comment = END.unpack_from(
        data, first
    )
    if signature != b"PK\x05\x06" or comment:
        raise UnreadableError("a zip file with bytes after its end, or truncated")
    if disk or disks or here != count:
        raise UnreadableError("a zip file of several parts")
    located = first - LOCATOR.size
    last = first
    if located >= 0 and data[located : located + 4] == b"PK\x06\x07":
        last = located - END64.size
        wide = _wide_directory(data, located, last)
        _refuse_another(count, wide.entries, NONE16)
        _refuse_another(size, wide.size, NONE32)
        _refuse_another(start, wide.start, NONE32)
        start, size, count = wide
    if start + size != last or count > MANY:
        raise UnreadableError("a zip file whose directory is not where its end says")
    return Directory(start, size, count)


def _refuse_another(narrow: int, wide: int, elsewhere: int) -> None:
    """Raises UnreadableError if the old end of a directory says other than zip64's."""
    if narrow not in (wide, elsewhere):
        raise UnreadableError("a zip file with two directories")


def _wide_directory(data: mmap.mmap, located: int, last: int) -> Directory:
    """The directory as zip64 tells it; its record must be right before its locator."""
    _, disk, at, disks = LOCATOR.unpack_from(data, located)
    if at != last or last < 0 or disk or disks > 1:
        raise UnreadableError("a zip file with two directories")
    fields = END64.unpack_from(data, last)
    signature, length, _, _, disk, first_disk, here, count, size, start = fields
    if signature != b"PK\x06\x06" or length != END64.size - 12 or here != count:
        raise UnreadableError("a zip file with two directories")
    if disk or first_disk:
        raise UnreadableError("a zip file of several parts")
    return Directory(start, size, count)


def _entries(data: mmap.mmap, directory: Directory) -> Iterator[Member]:
    """The entries of the directory, which must fill it."""
    position = directory.start
    end = directory.start + directory.size
    for _ in range(directory.entries):
        if position + ENTRY.size > end:
            raise UnreadableError("a zip file whose directory is too short")
        member, position = _entry(data, position)
        yield member
    if position != end:
        raise UnreadableError("a zip file whose directory holds more than its end says")


def _entry(data: mmap.mmap, position: int) -> tuple[Member, int]:
    """The entry at a position, and the position of the next one."""
    fields = ENTRY.unpack_from(data, position)
    signature, _, _, flags, method, _, _, _, packed, size = fields[:10]
    name_size, extra_size, comment_size, disk, _, _, header = fields[10:]
    if signature != b"PK\x01\x02" or disk or flags & ENCRYPTED:
        raise UnreadableError("a zip file whose directory is damaged, or encrypted")
    first = position + ENTRY.size
    name = data[first : first + name_size]
    extra = data[first + name_size : first + name_size + extra_size]
    size, packed, header = _widened(extra, size, packed, header)
    start = _first_byte(data, header, name)
    stored = method == 0
    if stored and packed != size:
        raise UnreadableError(f"a zip file whose member {name!r:.99} has two sizes")
    text = _text(name, "utf-8" if flags & UTF8 else "cp437")
    member = Member(text, header, start, packed, stored)
    return member, first + name_size + extra_size + comment_size


def _text(name: bytes, encoding: str) -> str:
    """A member's name, of printable characters that no reader changes."""
    text = name.decode(encoding)
    if not text or not text.isprintable() or "\\" in text:
        raise UnreadableError(f"a zip file with a member named {text!r:.99}")
    return text


def _widened(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """The sizes and the place of a member, of zip64's extra field where it has one."""
    wide = iter(_wide_numbers(extra))
    values: list[int] = []
    for value in (size, packed, header):
        values.append(next(wide) if value == NONE32 else value)
    return values[0], values[1], values[2]


def _wide_numbers(extra: bytes) -> list[int]:
    position = 0
    found: list[int] | None = None
    while position + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            if found is not None:
                raise UnreadableError("a zip file whose member has two sizes")
            count = size // 8
            found = list(struct.unpack_from(f"<{count}Q", extra, position + 4))
        position += 4 + size
    return found or []


def _first_byte(data: mmap.mmap, header: int, name: bytes) -> int:
    """Where a member's bytes begin, after its local header, which names it too."""
    fields = LOCAL.unpack_from(data, header)
    name_size, extra_size = fields[9:]
    first = header + LOCAL.size
    if fields[0] != b"PK\x03\x04" or data[first : first + name_size] != name:
        raise UnreadableError(f"a zip file whose member {name!r:.99} has two names")
    return first + name_size + extra_size


def _refuse_overlaps(listed: list[Member], directory: Directory) -> None:
    """Raises UnreadableError unless every member
    has its own bytes before the directory.
    """
    end = 0
    for member in sorted(listed, key=lambda member: member.header):
        if member.header < end:
            raise UnreadableError(
                f"a zip file whose members overlap ({member.name!r:.99})"
            )
        end = member.start + member.nbytes
    if end > directory.start:
        raise UnreadableError("a zip file whose members reach into its directory")


def _compare(path: Path, listed: list[Member]) -> None:
    """Raises UnreadableError unless Python's zipfile lists the same members."""
    with zipfile.ZipFile(path) as archive:
        theirs = archive.infolist()
    ours = [(member.name, member.header, member.nbytes) for member in listed]
    if ours != [(i.filename, i.header_offset, i.compress_size) for i in theirs]:
        raise UnreadableError("a zip file in which readers see different members")


def _by_name(listed: list[Member]) -> dict[str, Member]:
    """Members by their names after the first one's folder, as torch finds them.

    Torch takes upper and lower case for the same.
    """
    if not listed:
        raise UnreadableError("a zip file without members")
    prefix = listed[0].name.partition("/")[0] + "/"
    named: dict[str, Member] = {}
    lowered: set[str] = set()
    for member in listed:
        if not member.name.startswith(prefix):
            raise UnreadableError(f"a zip file of two archives ({member.name!r:.99})")
        if member.name.lower() in lowered:
            raise UnreadableError(f"a zip file with two members {member.name!r:.99}")
        lowered.add(member.name.lower())
        named[member.name.removeprefix(prefix)] = member
    return named
