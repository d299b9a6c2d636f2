"""Reading an ISO 9660 image: what a guest would see on it.

pycdlib writes our images, and this reader shares nothing with it: a check by code that
did not write the image proves more. ``inspect`` reads seeds of strangers with it, in
bounded time and memory whatever they hold.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import BinaryIO

from imagegen.media.iso9660 import (
    ASSOCIATED,
    CONTINUES,
    CREATED,
    DIRECTORY,
    LABEL,
    RECORD_DATE,
    DirectoryRecord,
    SeedError,
    Volume,
    damaged,
    directories,
    joliet_name,
    plain_name,
    records_in,
    rock_ridge_name,
    root_of,
    system_use,
    volumes,
)

# Whatever an image claims, no more than this is read of it, nor handed out per
# name space however often its records share the bytes.
SIZE_LIMIT = 64 * 1024 * 1024

_ROCK_RIDGE_IDS = (b"RRIP_1991A", b"IEEE_P1282", b"IEEE_1282")

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
        problem = damaged().problems[0]
    except SeedError as error:
        problem = error.problems[0]
    raise SeedError(problem.what, hint=problem.hint, where=source)


def _read(image: bytes) -> Seed:
    if len(image) > SIZE_LIMIT:
        raise SeedError(
            f"the image is larger than {SIZE_LIMIT} bytes",
            hint="give the seed itself, not an installation or disk image",
        )
    found = list(volumes(image))
    primary = next((volume for volume in found if not volume.joliet), None)
    joliet = next((volume for volume in found if volume.joliet), None)
    if primary is None:
        raise _not_iso(image)
    skip = _rock_ridge_skip(image, primary)
    # libblkid, which cloud-init asks for labels, prefers Joliet's.
    label = (joliet or primary).start + LABEL
    # All name spaces share the bytes of a file, as they do in the image.
    contents: dict[tuple[int, int], bytes] = {}
    files = partial(_files, image, contents)
    return Seed(
        label=image[label : label + 32]
        .decode("utf-16-be" if joliet else "utf-8", "replace")
        .rstrip(" \0"),
        created=_long_date(image, primary.start + CREATED),
        plain=files(primary, lambda record: plain_name(record.name)),
        rock_ridge=None
        if skip is None
        else files(primary, lambda record: rock_ridge_name(image, primary, record, skip)),
        joliet=files(joliet, lambda record: joliet_name(record.name)) if joliet else None,
    )


def _rock_ridge_skip(image: bytes, volume: Volume) -> int | None:
    """How many bytes to pass over before each System Use area; None without Rock Ridge."""
    own = next(records_in(image, volume, root_of(image, volume)), None)
    if own is None:
        raise damaged()
    extensions = list(system_use(image, volume, own))
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
    volume: Volume,
    name_of: Callable[[DirectoryRecord], str | None],
) -> tuple[SeedFile, ...]:
    """Every regular file of a volume, named as ``name_of`` reads a record; not those it skips."""
    files = []
    total = 0
    for folder, directory in directories(image, volume, name_of):
        for record in records_in(image, volume, directory):
            if record.flags & (DIRECTORY | ASSOCIATED):
                continue
            total += record.content_length
            end = record.content_start + record.content_length
            if (
                total > SIZE_LIMIT
                or record.flags & CONTINUES
                or (record.content_length and end > len(image))
            ):
                raise damaged()
            name = name_of(record)
            if name is not None:
                modified = _short_date(image, record.start + RECORD_DATE)
                place = (record.content_start, end)
                if place not in contents:
                    contents[place] = image[record.content_start : end]
                content = contents[place]
                files.append(SeedFile(name=folder + name, modified=modified, content=content))
    return tuple(files)


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


def _not_iso(image: bytes) -> SeedError:
    known = (kind for at, magic, kind in _FOREIGN if image.startswith(magic, at))
    kind = next(known, "" if image else "an empty file")
    return SeedError(
        "not an ISO 9660 image" + (f" but, it seems, {kind}" if kind else ""),
        hint="give a seed ISO, such as imagegen, cloud-localds or xorriso writes",
    )
