"""Writing an ISO 9660 image, the same bytes each time.

pycdlib lays the image out. It takes dates from the clock, in the local time zone, so they
are set in the finished bytes, where the standard puts them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from io import BytesIO
from itertools import chain, count
from pathlib import PurePosixPath

from imagegen.media.iso9660 import (
    CREATED,
    DIRECTORY,
    EFFECTIVE,
    MODIFIED,
    RECORD_DATE,
    RECORD_SIZE,
    ROOT_RECORD,
    SECTOR,
    DirectoryRecord,
    SeedError,
    Volume,
    directories,
    joliet_name,
    records_in,
    rock_ridge_name,
    system_use,
    volumes,
)
from imagegen.media.iso_reader import Seed, read_seed

_KEPT_LIMIT = 1024 * 1024
#: Bytes of files that an image may hold; it is made and read back in memory.
DISC_LIMIT = 60 * 1024 * 1024


def build_image(files: Mapping[str, bytes], *, when: datetime, label: str) -> bytes:
    """Make an ISO 9660 image of ``files``, read it back and return its bytes.

    A name may have directories in it. The same files, label and ``when`` give
    the same bytes, whatever the clock, time zone and process.

    Raises:
        SeedError: the image does not read back as it was meant.
    """
    if when.tzinfo is None:
        raise ValueError("an image's date needs a time zone")
    when = when.astimezone(UTC).replace(microsecond=0)

    blocks = tuple((name, -(-len(content) // SECTOR)) for name, content in sorted(files.items()))
    # Not kept where a snapshot is on it: only members' images come in numbers.
    kept = sum(map(len, files.values())) <= _KEPT_LIMIT
    empty, records = (_empty_image if kept else _empty_image.__wrapped__)(blocks, when, label)
    image = bytearray(empty)
    del empty
    for name, record in records:
        content = files[name]
        size = len(content)
        struct.pack_into("<I", image, record.start + RECORD_SIZE, size)
        struct.pack_into(">I", image, record.start + RECORD_SIZE + 4, size)
        if content:
            image[record.content_start : record.content_start + size] = content
    built = bytes(image)
    del image
    _check_built(read_seed(built), files, when=when, label=label)
    return built


@lru_cache(maxsize=2)
def _empty_image(
    blocks: tuple[tuple[str, int], ...], when: datetime, label: str
) -> tuple[bytes, list[tuple[str, DirectoryRecord]]]:
    """An image of files of so many blocks, all zeros, and the records of each.

    Where a file lies follows from its name and its blocks alone. So members whose
    documents have as many share what pycdlib takes twenty times as long for as
    filling it in does. Nothing of any member is kept here.
    """
    import pycdlib  # 40 ms, which only building should cost

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=1, joliet=3, rock_ridge="1.09", vol_ident=label)
    plain = {".": ""}
    for name, length in blocks:
        path = PurePosixPath(name)
        for folder in (*reversed(path.parents[:-1]), path):
            if str(folder) in plain:
                continue
            plain[str(folder)] = _new_plain_name(folder, plain)
            # Root's alone, should someone in the guest mount the image.
            add, mode = partial(iso.add_directory, plain[str(folder)]), 0o040500
            if folder == path:
                zeros = bytes(length * SECTOR)
                add = partial(iso.add_fp, BytesIO(zeros), len(zeros), f"{plain[name]}.;1")
                mode = 0o100400
            add(rr_name=folder.name, joliet_path=f"/{folder}", file_mode=mode)
    output = BytesIO()
    iso.write_fp(output)
    iso.close()
    image = bytearray(output.getbuffer())
    # It may be tens of megabytes: no more copies than there must be.
    output.close()
    _set_dates(image, when)
    empty = bytes(image)
    del image
    return empty, list(_file_records(empty))


def _file_records(image: bytes) -> Iterator[tuple[str, DirectoryRecord]]:
    """Every record of a file in both name spaces of an image that we wrote, with its full name."""
    for volume in volumes(image):

        def name_of(record: DirectoryRecord, volume: Volume = volume) -> str | None:
            if volume.joliet:
                return joliet_name(record.name)
            return rock_ridge_name(image, volume, record, skip=0)

        for folder, directory in directories(image, volume, name_of):
            for record in records_in(image, volume, directory):
                if not record.flags & DIRECTORY:
                    yield f"{folder}{name_of(record)}", record


def _new_plain_name(path: PurePosixPath, taken: Mapping[str, str]) -> str:
    """An 8.3 name, which ISO 9660 level 1 asks for, that no other file has."""
    folder = taken[str(path.parent)]
    letters = re.sub("[^A-Z0-9]", "", path.name.upper()) or "_"
    endings = chain([""], map(str, count(1)))
    names = (letters[: 8 - len(ending)] + ending for ending in endings)
    return next(f"{folder}/{name}" for name in names if f"{folder}/{name}" not in taken.values())


def _check_built(seed: Seed, files: Mapping[str, bytes], *, when: datetime, label: str) -> None:
    """Compare what the image shows, in both name spaces, with what was meant."""
    meant = {name: (content, when) for name, content in files.items()}
    for space in (seed.rock_ridge, seed.joliet):
        shown = {file.name: (file.content, file.modified) for file in space or ()}
        if (shown, seed.label, seed.created) == (meant, label, when):
            continue
        raise SeedError(
            "the seed just built does not read back as it was meant",
            hint="this is a bug in imagegen or pycdlib: please report it with the pycdlib version",
        )


def _set_dates(image: bytearray, when: datetime) -> None:
    """Overwrite every date, for pycdlib can only write the clock's, in the local time zone."""
    short = bytes((when.year - 1900, *when.timetuple()[1:6], 0))
    long = f"{when:%Y%m%d%H%M%S}00\0".encode()
    for volume in volumes(image):
        for offset in (CREATED, MODIFIED, EFFECTIVE):
            struct.pack_into("17s", image, volume.start + offset, long)
        struct.pack_into("7s", image, volume.start + ROOT_RECORD + RECORD_DATE, short)
        for _, directory in directories(image, volume, lambda _: ""):
            for record in records_in(image, volume, directory):
                struct.pack_into("7s", image, record.start + RECORD_DATE, short)
                for entry in system_use(image, volume, record):
                    if entry.signature == b"TF":
                        long_form = image[entry.start + 4] & 0x80
                        size = entry.length - 5
                        dates = long * (size // 17) if long_form else short * (size // 7)
                        struct.pack_into(f"{size}s", image, entry.start + 5, dates)
