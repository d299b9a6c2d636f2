"""How an ISO 9660 image is laid out, and walking through one, whatever it holds.

Layout: ECMA-119 (ISO 9660), Joliet, SUSP 1.12 and RRIP 1.09 (Rock Ridge). All numbers
come from the image, which may be a stranger's: each walk ends, in bounded time and memory.
An offset that points outside the image raises struct.error or IndexError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from imagegen.base.problems import ImagegenError

_DIRECTORY_LIMIT = 64 * 1024
_DIRECTORIES_LIMIT = 32
_CONTINUATION_LIMIT = 4

SECTOR = 2048
_FIRST_DESCRIPTOR = 16
_DESCRIPTOR_LIMIT = 100
_PRIMARY, _SUPPLEMENTARY, _TERMINATOR = 1, 2, 255
_JOLIET = (b"%/@", b"%/C", b"%/E")

# Offsets within a volume descriptor.
LABEL = 40
_ESCAPES = 88
_BLOCK_SIZE = 128
ROOT_RECORD = 156
CREATED, MODIFIED, EFFECTIVE = 813, 830, 864

# Within a directory record.
RECORD_SIZE = 10
RECORD_DATE = 18
DIRECTORY, ASSOCIATED, CONTINUES = 0x02, 0x04, 0x80


class SeedError(ImagegenError):
    """A seed that cannot be built, or an image that cannot be read as one."""


class Volume(NamedTuple):
    """A volume descriptor: one way to read the image."""

    start: int
    joliet: bool
    block: int


class DirectoryRecord(NamedTuple):
    """A directory record: a name, and where its bytes lie."""

    start: int
    length: int
    content_start: int
    content_length: int
    flags: int
    name: bytes


class SystemUseEntry(NamedTuple):
    """A System Use entry: one Rock Ridge attribute of a directory record."""

    signature: bytes
    start: int
    length: int


def plain_name(name: bytes) -> str:
    """Spell a plain ISO 9660 name as Linux does."""
    text = name.decode("utf-8", "replace").lower()
    return text.removesuffix(";1").removesuffix(".").replace(";", ".").replace("/", ".")


def joliet_name(name: bytes) -> str:
    """Spell a Joliet name as Linux does."""
    return name.decode("utf-16-be", "replace").removesuffix(";1").rstrip(".")


def rock_ridge_name(image: bytes, volume: Volume, record: DirectoryRecord, skip: int) -> str | None:
    """A record's own name; None for a symbolic link, which has no content of its own."""
    entries = list(system_use(image, volume, record, skip))
    if any(entry.signature == b"SL" for entry in entries):
        return None
    parts = (image[e.start + 5 : e.start + e.length] for e in entries if e.signature == b"NM")
    return b"".join(parts).decode("utf-8", "replace") or plain_name(record.name)


def volumes(image: bytes | bytearray) -> Iterator[Volume]:
    """Yield the primary and the Joliet volume descriptors."""
    for sector in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + _DESCRIPTOR_LIMIT):
        start = sector * SECTOR
        if not image.startswith(b"CD001", start + 1) or image[start] == _TERMINATOR:
            return
        joliet = image[start] == _SUPPLEMENTARY and image.startswith(_JOLIET, start + _ESCAPES)
        if joliet or image[start] == _PRIMARY:
            (block,) = struct.unpack_from("<H", image, start + _BLOCK_SIZE)
            if block not in (512, 1024, 2048):
                raise damaged()
            yield Volume(start, joliet, block)


def root_of(image: bytes | bytearray, volume: Volume) -> DirectoryRecord:
    """The volume's root directory."""
    return _record_at(image, volume, volume.start + ROOT_RECORD)


def directories(
    image: bytes | bytearray, volume: Volume, name_of: Callable[[DirectoryRecord], str | None]
) -> Iterator[tuple[str, DirectoryRecord]]:
    """Yield the directories, the root first, with their paths; no more than a seed can need."""
    waiting = [("", root_of(image, volume))]
    seen = {waiting[0][1].content_start}
    while waiting:
        path, directory = waiting.pop(0)
        yield path, directory
        for record in records_in(image, volume, directory):
            if (
                record.flags & DIRECTORY
                and record.content_start not in seen  # itself, its parent, or a loop
                and len(seen) < _DIRECTORIES_LIMIT
            ):
                seen.add(record.content_start)
                waiting.append((f"{path}{name_of(record)}/", record))


def records_in(
    image: bytes | bytearray, volume: Volume, directory: DirectoryRecord
) -> Iterator[DirectoryRecord]:
    """Yield a directory's records, its own and its parent's first."""
    if directory.content_length > _DIRECTORY_LIMIT:
        raise damaged()
    at, end = directory.content_start, directory.content_start + directory.content_length
    while at < end:
        if image[at] == 0:  # the rest of the block is empty: records do not cross blocks
            at += volume.block - at % volume.block
            continue
        record = _record_at(image, volume, at)
        yield record
        at += record.length


def _record_at(image: bytes | bytearray, volume: Volume, start: int) -> DirectoryRecord:
    # Each number is stored twice; these are the little-endian copies.
    length, block, size, flags, name_length = struct.unpack_from("<BxI4xI4x7xB6xB", image, start)
    if length < 33 + name_length:
        raise damaged()
    name = bytes(image[start + 33 : start + 33 + name_length])
    return DirectoryRecord(start, length, block * volume.block, size, flags, name)


def system_use(
    image: bytes | bytearray, volume: Volume, record: DirectoryRecord, skip: int = 0
) -> Iterator[SystemUseEntry]:
    """Yield a record's System Use entries, following them where they continue elsewhere."""
    # A name of even length is padded: what comes behind it starts at an even offset.
    at = record.start + 33 + len(record.name) + (len(record.name) + 1) % 2 + skip
    end = record.start + record.length
    for _ in range(_CONTINUATION_LIMIT):
        continuation = None
        while at + 4 <= end and 4 <= image[at + 2] <= end - at:
            entry = SystemUseEntry(bytes(image[at : at + 2]), at, image[at + 2])
            if entry.signature == b"CE":
                continuation = struct.unpack_from("<I4xI4xI", image, at + 4)
            yield entry
            at += entry.length
        if continuation is None:
            return
        block, offset, length = continuation
        at = block * volume.block + offset
        end = at + min(length, SECTOR)


def damaged() -> SeedError:
    """The error for an image that contradicts itself."""
    return SeedError("the image is damaged or cut short", hint="build or copy it again")
