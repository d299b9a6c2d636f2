"""Snapshots of a cluster: saved whole or not at all, and believed only with a right hash.

etcd ends a snapshot it sends with the SHA-256 of all before (etcdserver,
api/v3rpc/maintenance.go); before that is a bbolt database, in pages of 512
bytes or a multiple.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imagegen.base.files import create, sync, unfinished
from imagegen.base.problems import ImagegenError
from imagegen.media.iso_writer import DISC_LIMIT

#: Bytes of the hash at the end.
TRAILER = hashlib.sha256().digest_size
PAGE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot whose hash is right; ``sha256`` is of the whole file, as sha256sum prints it."""

    path: Path
    size: int
    sha256: str

    @property
    def fits_a_disc(self) -> bool:
        """Whether it travels on a disc of its own; a larger one is put on the members by hand."""
        return self.size <= DISC_LIMIT


class _Check:
    """Hashes of a snapshot that comes in pieces of any size."""

    def __init__(self) -> None:
        self.size = 0
        self.whole = hashlib.sha256()
        self.database = hashlib.sha256()
        self.held = b""  # may be the hash at the end, or more of the database

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self.whole.update(piece)
        data = self.held + piece
        cut = max(len(data) - TRAILER, 0)
        self.database.update(data[:cut])
        self.held = data[cut:]

    def result(self, path: Path, where: str) -> Snapshot:
        hint = (
            "take another: imagegen snapshot save. A database copied from a data directory "
            "(member/snap/db) has no hash and is no snapshot"
        )
        if self.size % PAGE != TRAILER:
            what = f"is no whole snapshot: {self.size} bytes, not a multiple of {PAGE} and a hash"
            raise ImagegenError(what, where=where, hint=hint)
        if self.database.digest() != self.held:
            raise ImagegenError(
                "is damaged: the SHA-256 at its end is not that of what is before it",
                where=where,
                hint=hint,
            )
        return Snapshot(path=path, size=self.size, sha256=self.whole.hexdigest())


def read_snapshot(path: Path) -> Snapshot:
    """Check a snapshot file.

    Raises:
        ImagegenError: it cannot be read, or is not whole.
    """
    check = _Check()
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                check.add(piece)
    except OSError as error:
        raise ImagegenError(f"cannot read: {error.strerror}", where=str(path)) from None
    return check.result(path, str(path))


def write_snapshot(pieces: Iterable[bytes], path: Path, *, source: str) -> Snapshot:
    """Write what a member sends; the file has its name only once it is whole and on the disk.

    ``source`` names the member in messages.

    Raises:
        ImagegenError: the file exists or cannot be written, or what came is not whole.
    """
    check = _Check()
    new = unfinished(path)
    try:
        if path.exists():
            raise FileExistsError
        new.unlink(missing_ok=True)
        try:
            # For its owner alone: everything the cluster holds is in it.
            with create(new) as file:
                for piece in pieces:
                    check.add(piece)
                    file.write(piece)
                sync(file)
            snapshot = check.result(path, source)
            # Not by a rename, which would replace what has come there meanwhile.
            os.link(new, path)
        finally:
            new.unlink(missing_ok=True)
    except FileExistsError:
        raise ImagegenError("already exists", where=str(path), hint="choose another file") from None
    except OSError as error:
        raise ImagegenError(f"cannot write: {error.strerror}", where=str(path)) from None
    return snapshot
