"""The NoCloud seed ISO: how a member's documents reach its first boot.

pycdlib writes the image; the reader is ours, for three reasons. A check by
other code than wrote the image proves more. Dates can be set where the
standard puts them, in finished bytes, instead of in pycdlib's clock and
internals. And ``inspect`` reads seeds of strangers: this reader works in
bounded time and memory, whatever they contain.

Layout: ECMA-119 (ISO 9660), Joliet, SUSP 1.12 and RRIP 1.09 (Rock Ridge).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import BinaryIO, NamedTuple

from imagegen.base.problems import ImagegenError

# Whatever an image claims, no more than this is read of it, nor handed out per
# name space however often its records share the bytes.
SIZE_LIMIT = 64 * 1024 * 1024

_DIRECTORY_LIMIT = 64 * 1024
_DIRECTORIES_LIMIT = 32
_CONTINUATION_LIMIT = 4

_SECTOR = 2048
_FIRST_DESCRIPTOR = 16
_DESCRIPTOR_LIMIT = 100
_PRIMARY, _SUPPLEMENTARY, _TERMINATOR = 1, 2, 255
_JOLIET = (b"%/@", b"%/C", b"%/E")
_ROCK_RIDGE_IDS = (b"RRIP_1991A", b"IEEE_P1282", b"IEEE_1282")

# Offsets within a volume descriptor.
_LABEL = 40
_ESCAPES = 88
_BLOCK_SIZE = 128
_ROOT_RECORD = 156
_CREATED, _MODIFIED, _EFFECTIVE = 813, 830, 864

# Within a directory record.
_RECORD_SIZE = 10
_RECORD_DATE = 18
_DIRECTORY, _ASSOCIATED, _CONTINUES = 0x02, 0x04, 0x80

_FOREIGN = (
    (0, b"#cloud-config", "a cloud-config document"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"BZh", "bzip2 data"),
    (0, b"\xfd7zXZ", "xz data"),
    (0, b"\x28\xb5\x2f\xfd", "zstd data"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"QFI\xfb", "a qcow2 disk image"),
    (0, b"KDMV", "a VMDK disk image"),
    (0, b"vhdxfile", "a VHDX disk image"),
    (54, b"FAT1", "a FAT file system"),
    (82, b"FAT32", "a FAT file system"),
    (257, b"ustar", "a tar archive"),
    (1080, b"\x53\xef", "an ext file system"),
)


class SeedError(ImagegenError):
    """A seed that cannot be built, or an image that cannot be read as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFile:
    """A regular file on a seed; ``name`` has a slash after each directory."""

    name: str
    modified: datetime | None
    content: bytes = field(repr=False)  # it may hold private keys

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """What an ISO 9660 image shows, in each of its name spaces."""

    label: str
    created: datetime | None
    plain: tuple[SeedFile, ...]
    rock_ridge: tuple[SeedFile, ...] | None
    joliet: tuple[SeedFile, ...] | None

    @property
    def files(self) -> tuple[SeedFile, ...]:
        """What a Linux guest sees: Rock Ridge before Joliet before plain names."""
        for files in (self.rock_ridge, self.joliet):
            if files is not None:
                return files
        return self.plain

    def find(self, name: str) -> SeedFile | None:
        """Look up one file as a Linux guest would."""
        return next((file for file in self.files if file.name == name), None)


def read_seed(data: bytes | BinaryIO, *, source: str = "") -> Seed:
    """Read any ISO 9660 image, or say why that is impossible."""
    image = data if isinstance(data, bytes) else data.read(SIZE_LIMIT + 1)
    try:
        return _read(image)
    except (struct.error, IndexError):
        # All offsets come from the image itself; one of them points outside.
        problem = _damaged().problems[0]
    except SeedError as error:
        problem = error.problems[0]
    raise SeedError(problem.what, hint=problem.hint, where=source)


class _Volume(NamedTuple):
    """A volume descriptor: one way to read the image."""

    start: int
    joliet: bool
    block: int


class _Record(NamedTuple):
    """A directory record: a name, and where its bytes lie."""

    start: int
    length: int
    content_start: int
    content_length: int
    flags: int
    name: bytes


class _Entry(NamedTuple):
    """A System Use entry: one Rock Ridge attribute of a directory record."""

    signature: bytes
    start: int
    length: int


def _read(image: bytes) -> Seed:
    if len(image) > SIZE_LIMIT:
        raise SeedError(
            f"the image is larger than {SIZE_LIMIT} bytes",
            hint="give the seed itself, not an installation or disk image",
        )
    volumes = list(_volumes(image))
    primary = next((volume for volume in volumes if not volume.joliet), None)
    joliet = next((volume for volume in volumes if volume.joliet), None)
    if primary is None:
        raise _not_iso(image)
    skip = _rock_ridge_skip(image, primary)
    # libblkid, which cloud-init asks for labels, prefers Joliet's.
    label = (joliet or primary).start + _LABEL
    # All name spaces share the bytes of a file, as they do in the image.
    contents: dict[tuple[int, int], bytes] = {}
    files = partial(_files, image, contents)
    return Seed(
        label=image[label : label + 32]
        .decode("utf-16-be" if joliet else "utf-8", "replace")
        .rstrip(" \0"),
        created=_long_date(image, primary.start + _CREATED),
        plain=files(primary, lambda record: _plain_name(record.name)),
        rock_ridge=None
        if skip is None
        else files(primary, lambda record: _rock_ridge_name(image, primary, record, skip)),
        joliet=files(joliet, lambda record: _joliet_name(record.name)) if joliet else None,
    )


def _rock_ridge_skip(image: bytes, volume: _Volume) -> int | None:
    """How many bytes to pass over before each System Use area; None without Rock Ridge."""
    own = next(_records(image, volume, _root(image, volume)), None)
    if own is None:
        raise _damaged()
    extensions = list(_system_use(image, volume, own))
    if not any(
        image.startswith(_ROCK_RIDGE_IDS, entry.start + 8)
        for entry in extensions
        if entry.signature == b"ER"
    ):
        return None
    return next((image[e.start + 6] for e in extensions if e.signature == b"SP"), 0)


def _files(
    image: bytes,
    contents: dict[tuple[int, int], bytes],
    volume: _Volume,
    name_of: Callable[[_Record], str | None],
) -> tuple[SeedFile, ...]:
    """Every regular file of a volume, named as ``name_of`` reads a record; not those it skips."""
    files = []
    total = 0
    for folder, directory in _directories(image, volume, name_of):
        for record in _records(image, volume, directory):
            if record.flags & (_DIRECTORY | _ASSOCIATED):
                continue
            total += record.content_length
            end = record.content_start + record.content_length
            if (
                total > SIZE_LIMIT
                or record.flags & _CONTINUES
                or (record.content_length and end > len(image))
            ):
                raise _damaged()
            name = name_of(record)
            if name is not None:
                modified = _short_date(image, record.start + _RECORD_DATE)
                place = (record.content_start, end)
                if place not in contents:
                    contents[place] = image[record.content_start : end]
                content = contents[place]
                files.append(SeedFile(name=folder + name, modified=modified, content=content))
    return tuple(files)


def _plain_name(name: bytes) -> str:
    """Spell a plain ISO 9660 name as Linux does."""
    text = name.decode("utf-8", "replace").lower()
    return text.removesuffix(";1").removesuffix(".").replace(";", ".").replace("/", ".")


def _joliet_name(name: bytes) -> str:
    return name.decode("utf-16-be", "replace").removesuffix(";1").rstrip(".")


def _rock_ridge_name(image: bytes, volume: _Volume, record: _Record, skip: int) -> str | None:
    """A record's own name; None for a symbolic link, which has no content of its own."""
    entries = list(_system_use(image, volume, record, skip))
    if any(entry.signature == b"SL" for entry in entries):
        return None
    parts = (image[e.start + 5 : e.start + e.length] for e in entries if e.signature == b"NM")
    return b"".join(parts).decode("utf-8", "replace") or _plain_name(record.name)


def _long_date(image: bytes, at: int) -> datetime | None:
    """Read a volume descriptor's date: digits, and quarters of an hour from UTC."""
    try:
        date = datetime.strptime(image[at : at + 14].decode("ascii"), "%Y%m%d%H%M%S")
        (quarters,) = struct.unpack_from("b", image, at + 16)
        return date.replace(tzinfo=timezone(timedelta(minutes=15 * quarters)))
    except ValueError:
        return None


def _short_date(image: bytes, at: int) -> datetime | None:
    """Read a directory record's date: a byte for each field, years from 1900."""
    year, month, day, hour, minute, second, quarters = struct.unpack_from("6Bb", image, at)
    try:
        zone = timezone(timedelta(minutes=15 * quarters))
        return datetime(1900 + year, month, day, hour, minute, second, tzinfo=zone)
    except ValueError:
        return None


def _volumes(image: bytes | bytearray) -> Iterator[_Volume]:
    """Yield the primary and the Joliet volume descriptors."""
    for sector in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + _DESCRIPTOR_LIMIT):
        start = sector * _SECTOR
        if not image.startswith(b"CD001", start + 1) or image[start] == _TERMINATOR:
            return
        joliet = image[start] == _SUPPLEMENTARY and image.startswith(_JOLIET, start + _ESCAPES)
        if joliet or image[start] == _PRIMARY:
            (block,) = struct.unpack_from("<H", image, start + _BLOCK_SIZE)
            if block not in (512, 1024, 2048):
                raise _damaged()
            yield _Volume(start, joliet, block)


def _root(image: bytes | bytearray, volume: _Volume) -> _Record:
    """The volume's root directory."""
    return _record(image, volume, volume.start + _ROOT_RECORD)


def _directories(
    image: bytes | bytearray, volume: _Volume, name_of: Callable[[_Record], str | None]
) -> Iterator[tuple[str, _Record]]:
    """Yield the directories, the root first, with their paths; no more than a seed can need."""
    waiting = [("", _root(image, volume))]
    seen = {waiting[0][1].content_start}
    while waiting:
        path, directory = waiting.pop(0)
        yield path, directory
        for record in _records(image, volume, directory):
            if (
                record.flags & _DIRECTORY
                and record.content_start not in seen  # itself, its parent, or a loop
                and len(seen) < _DIRECTORIES_LIMIT
            ):
                seen.add(record.content_start)
                waiting.append((f"{path}{name_of(record)}/", record))


def _records(image: bytes | bytearray, volume: _Volume, directory: _Record) -> Iterator[_Record]:
    """Yield a directory's records, its own and its parent's first."""
    if directory.content_length > _DIRECTORY_LIMIT:
        raise _damaged()
    at, end = directory.content_start, directory.content_start + directory.content_length
    while at < end:
        if image[at] == 0:  # the rest of the block is empty: records do not cross blocks
            at += volume.block - at % volume.block
            continue
        record = _record(image, volume, at)
        yield record
        at += record.length


def _record(image: bytes | bytearray, volume: _Volume, start: int) -> _Record:
    # Each number is stored twice; these are the little-endian copies.
    length, block, size, flags, name_length = struct.unpack_from("<BxI4xI4x7xB6xB", image, start)
    if length < 33 + name_length:
        raise _damaged()
    name = bytes(image[start + 33 : start + 33 + name_length])
    return _Record(start, length, block * volume.block, size, flags, name)


def _system_use(
    image: bytes | bytearray, volume: _Volume, record: _Record, skip: int = 0
) -> Iterator[_Entry]:
    """Yield a record's System Use entries, following them where they continue elsewhere."""
    # A name of even length is padded: what comes behind it starts at an even offset.
    at = record.start + 33 + len(record.name) + (len(record.name) + 1) % 2 + skip
    end = record.start + record.length
    for _ in range(_CONTINUATION_LIMIT):
        continuation = None
        while at + 4 <= end and 4 <= image[at + 2] <= end - at:
            entry = _Entry(bytes(image[at : at + 2]), at, image[at + 2])
            if entry.signature == b"CE":
                continuation = struct.unpack_from("<I4xI4xI", image, at + 4)
            yield entry
            at += entry.length
        if continuation is None:
            return
        block, offset, length = continuation
        at = block * volume.block + offset
        end = at + min(length, _SECTOR)


def _not_iso(image: bytes) -> SeedError:
    known = (kind for at, magic, kind in _FOREIGN if image.startswith(magic, at))
    kind = next(known, "" if image else "an empty file")
    return SeedError(
        "not an ISO 9660 image" + (f" but, it seems, {kind}" if kind else ""),
        hint="give a seed ISO, such as imagegen, cloud-localds or xorriso writes",
    )


def _damaged() -> SeedError:
    return SeedError("the image is damaged or cut short", hint="build or copy it again")
